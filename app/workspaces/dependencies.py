"""Dependencies of the routers of workspaces and jobs."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.dependencies import OwnerDep
from app.accounts.principal import Caller
from app.core.i18n import Locale
from app.http.dependencies import IdempotencyKeyDep, LocaleDep, ResourcesDep, SessionDep
from app.resources import Resources
from app.workspaces.jobs.subscriptions import JobWatch


@dataclass(frozen=True, slots=True)
class Asking:
    """Everything about a request to change one of the caller's workspaces but the workspace and the change."""

    session: AsyncSession
    resources: Resources
    caller: Caller
    locale: Locale
    response: Response
    key: str | None


async def get_asking(
    session: SessionDep,
    resources: ResourcesDep,
    caller: OwnerDep,
    locale: LocaleDep,
    response: Response,
    key: IdempotencyKeyDep = None,
) -> Asking:
    """Who asks, in what language, and the key that makes asking twice the same."""
    return Asking(session, resources, caller, locale, response, key)


AskingDep = Annotated[Asking, Depends(get_asking, scope="function")]


async def get_watch(request: Request) -> JobWatch:
    """The process's one subscription to changes of jobs."""
    watch: JobWatch = request.app.state.watch
    return watch


WatchDep = Annotated[JobWatch, Depends(get_watch)]
