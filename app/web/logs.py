"""The log page of a workspace."""

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
# States in which the last job's failure is shown.
FAILED = frozenset({WorkspaceStatus.ERROR, WorkspaceStatus.NOT_CREATED})


@dataclass(frozen=True, slots=True)
class Log:
    """The container's output, an error, or the lines kept by the last failed job.

    `lines` is None without container, or if the log is not readable; `trouble` then says why.
    """

    lines: list[str] | None
    trouble: str | None
    failure: Job | None
    why: str | None


async def find_log(resources: Resources, caller: Principal, locale: Locale, card: Card) -> Log:
    """Return the log of a card's workspace; without a container, the lines kept by its failed job."""
    lines: list[str] | None = None
    trouble = failure = None
    try:
        lines = await read_log(resources, caller.user.id, card.type, tail=LINES)
        # The worker may have taken long, and the session may have ended.
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
