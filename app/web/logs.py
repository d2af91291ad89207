"""A workspace's log as its page shows it."""

from dataclasses import dataclass

from app.accounts.principal import Principal, confirm
from app.core.i18n import Locale
from app.models import Job, WorkspaceStatus
from app.resources import Resources
from app.web.cards import Card
from app.workspaces.errors import LogsUnavailable, NoContainer, TooManyStreams, explain
from app.workspaces.logs import read_log
from app.workspaces.views import last_failure

LINES = 200
# Where a job's failure is what there is to tell.
FAILED = frozenset({WorkspaceStatus.ERROR, WorkspaceStatus.NOT_CREATED})


@dataclass(frozen=True, slots=True)
class Log:
    """What the container says now, or why that cannot be read, or what the last job that failed has kept.

    `lines` is None where there is no container, or its log cannot be read, which `trouble` says then.
    """

    lines: list[str] | None
    trouble: str | None
    failure: Job | None
    why: str | None


async def find_log(resources: Resources, caller: Principal, locale: Locale, card: Card) -> Log:
    """The current log of a card's workspace; of one that failed and has none, the lines that its job kept."""
    lines: list[str] | None = None
    trouble = failure = None
    try:
        lines = await read_log(resources, caller.user.id, card.type, tail=LINES)
        # A worker may have taken its time.
        await confirm(resources, caller)
    except NoContainer:
        pass
    except (LogsUnavailable, TooManyStreams) as error:
        trouble = error.detail.format(locale)
    if not lines and card.status in FAILED:
        async with resources.reads() as session:
            failure = await last_failure(session, caller.user.id, card.type)
    why = explain(failure.error_code or "", locale) if failure else None
    return Log(lines, trouble, failure, why)
