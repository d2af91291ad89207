"""Texts of cards about containers and programs that ended unexpectedly."""

from datetime import datetime, timedelta
from typing import Final

from app.core.i18n import Locale, Text
from app.models import WorkspaceStatus
from app.web.messages.pages import date
from app.workspaces.schemas import WorkspaceOut

# Older exits are not shown.
NEWS: Final = timedelta(days=1)
RESTARTED: Final = Text("Started again after {when}: {why}", "Neu gestartet nach {when}: {why}")
KILLED: Final = Text("{why} (last at {when}, {count} in all)", "{why} (zuletzt {when}, insgesamt {count})")


def troubles(entry: WorkspaceOut, now: datetime, locale: Locale) -> list[str]:
    """Return sentences about unexpected exits of the last day, except the one shown as error."""
    said = []
    ended, killed = entry.last_exit, entry.memory_kills
    runs = entry.status in (WorkspaceStatus.RUNNING, WorkspaceStatus.PAUSED)
    if ended is not None and runs and now - ended.at < NEWS:
        said.append(RESTARTED.format(locale, when=date(ended.at, locale), why=ended.message))
    if killed is not None and now - killed.at < NEWS:
        said.append(KILLED.format(locale, when=date(killed.at, locale), count=killed.count, why=killed.message))
    return said
