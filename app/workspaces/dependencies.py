"""Dependencies of the routers of workspaces and jobs."""

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
    """Everything about a request to change one of the caller's workspaces but the workspace and the change."""

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
    """Who asks, in what language, and the key that makes asking twice the same."""
    return CommandContext(session, resources, caller, locale, response, key)


CommandContextDep = Annotated[CommandContext, Depends(get_command_context, scope="function")]


async def get_watch(request: Request) -> JobSubscriptions:
    """The process's one subscription to changes of jobs."""
    watch: JobSubscriptions = request.app.state.watch
    return watch


WatchDep = Annotated[JobSubscriptions, Depends(get_watch)]
