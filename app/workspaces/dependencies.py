"""Dependencies of the workspace and job routers."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.dependencies import ScopedUserDep
from app.accounts.principal import Principal
from app.core.i18n import Locale
from app.http.dependencies import IdempotencyKeyDep, LocaleDep, ResourcesDep, SessionDep
from app.resources import Resources
from app.workspaces.jobs.subscriptions import JobSubscriptions


@dataclass(frozen=True, slots=True)
class CommandContext:
    """The context of a request to change one of the caller's workspaces."""

    session: AsyncSession
    resources: Resources
    caller: Principal
    locale: Locale
    response: Response
    key: str | None


async def get_command_context(
    session: SessionDep,
    resources: ResourcesDep,
    caller: ScopedUserDep,
    locale: LocaleDep,
    response: Response,
    key: IdempotencyKeyDep = None,
) -> CommandContext:
    """Return caller, language, and idempotency key."""
    return CommandContext(session, resources, caller, locale, response, key)


CommandContextDep = Annotated[CommandContext, Depends(get_command_context, scope="function")]


async def get_watch(request: Request) -> JobSubscriptions:
    """Return the process's subscription to job changes."""
    watch: JobSubscriptions = request.app.state.watch
    return watch


WatchDep = Annotated[JobSubscriptions, Depends(get_watch)]
