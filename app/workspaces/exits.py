"""Exits that were not requested: of a container, or of programs in it that the kernel killed for memory."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, or_, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit import trail
from app.core.i18n import Locale, Text
from app.models import Workspace, utcnow
from app.runtime.base import Status
from app.workspaces.errors import explain
from app.workspaces.schemas import LastExitOut, MemoryKillsOut

# The code of an exit without error.
ENDED = "ended"
ENDED_TEXT = Text(
    "The workspace ended by itself, without an error.", "Der Arbeitsplatz hat sich ohne Fehler selbst beendet."
)
KILLED_TEXT = Text(
    "Memory ran out, and the kernel ended a program in the workspace, such as a notebook's kernel. "
    "Close what you do not need, or ask your operator for a larger limit.",
    "Der Arbeitsspeicher war erschöpft, und das System hat ein Programm im Arbeitsplatz beendet, etwa den Kernel eines "
    "Notebooks. Schließe, was du nicht brauchst, oder bitte den Betreiber um ein höheres Limit.",
)


def record_exit(workspace: Workspace, status: Status, code: str | None) -> None:
    """Record the container's exit and its cause in the locked row."""
    workspace.last_exit, workspace.last_exit_at, workspace.last_exit_status = code or ENDED, utcnow(), status.exit_code


def record_restart(session: AsyncSession, workspace: Workspace, code: str) -> None:
    """Record in the owner's activity that the workspace crashed and restarts."""
    trail.record(session, "workspace_restarted", "workspace", str(workspace.id), actor=trail.SYSTEM, detail=code)


async def record_memory_kill(session: AsyncSession, workspace_id: UUID, at: datetime, count: int | None) -> bool:
    """Count programs killed by the kernel: `count` in this run of the container if known, else one more.

    Every worker receives the event, possibly twice: `at` is the kernel's time, and older ones change nothing. Returns
    whether this call counted it.
    """
    news: ColumnElement[bool] = or_(Workspace.memory_kill_at.is_(None), Workspace.memory_kill_at < at)
    if count is not None:
        news &= Workspace.memory_kills != count
    values = {"memory_kills": Workspace.memory_kills + 1 if count is None else count, "memory_kill_at": at}
    row = update(Workspace).where(Workspace.id == workspace_id, news).values(**values).returning(Workspace.memory_kills)
    total = await session.scalar(row, execution_options={"synchronize_session": False})
    if total is None:
        return False
    act = ("workspace_memory_killed", "workspace", str(workspace_id))
    # Programs can trigger kills in a loop: the trail records one per minute, the row all.
    if not await trail.is_fresh(session, *act):
        trail.record(session, *act, actor=trail.SYSTEM, detail=f"{total} in this run")
    return True


def last_exit(workspace: Workspace | None, locale: Locale) -> LastExitOut | None:
    """Return the last exit of the container that was not requested, if any."""
    if workspace is None or workspace.last_exit is None or workspace.last_exit_at is None:
        return None
    code = workspace.last_exit
    return LastExitOut(
        code=code,
        message=ENDED_TEXT.format(locale) if code == ENDED else explain(code, locale),
        exit_code=workspace.last_exit_status,
        at=workspace.last_exit_at,
        restarts=workspace.restarts,
    )


def memory_kills(workspace: Workspace | None, locale: Locale) -> MemoryKillsOut | None:
    """Return the number of programs killed in it, if any."""
    if workspace is None or not workspace.memory_kills or workspace.memory_kill_at is None:
        return None
    return MemoryKillsOut(count=workspace.memory_kills, at=workspace.memory_kill_at, message=KILLED_TEXT.format(locale))
