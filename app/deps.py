"""Every dependency of the routes, as Annotated aliases.

All are coroutines, also those that wait for nothing: FastAPI sends a plain function to a thread, which costs more than
what any of these does.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import service as auth
from app.auth.service import Caller, Client
from app.errors import Forbidden, NotAdmin, Unauthorized, locale_of
from app.gateway.activity import Activity
from app.i18n import Locale
from app.resources import Resources
from app.workspaces.watch import JobWatch

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


async def get_resources(request: Request) -> Resources:
    """The bundle that the lifespan opened."""
    resources: Resources = request.app.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(get_resources)]


async def get_session(resources: ResourcesDep) -> AsyncIterator[AsyncSession]:
    """One unit of work for the request."""
    async with resources.unit_of_work() as session:
        yield session


# scope="function" commits before the answer is sent: a 202 is never followed by a failed commit.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


async def get_locale(request: Request) -> Locale:
    """The language to answer in."""
    return locale_of(request)


LocaleDep = Annotated[Locale, Depends(get_locale)]


async def check_same_origin(request: Request) -> None:
    """Refuse an unsafe request that a browser sends with our cookie from another page.

    `Sec-Fetch-Site` decides where the browser sends it; else the Origin must be ours exactly. `same-site` is not
    enough: workspaces are siblings of this site.
    """
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site != "same-origin":
        raise Forbidden
    if origin is not None and origin != request.app.state.settings.public_url:
        raise Forbidden
    if site is None and origin is None:
        raise Forbidden


async def get_caller(request: Request, resources: ResourcesDep) -> Caller | None:
    """Who calls, by Bearer token or by the pages' cookie; the session's row is checked on every request."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer":
            return None
        return await auth.caller_by_access_token(resources, token.strip())
    cookie = request.cookies.get(auth.cookie_name(resources.settings))
    if cookie is None:
        return None
    await check_same_origin(request)
    return await auth.caller_by_cookie(resources, cookie)


MaybeCallerDep = Annotated[Caller | None, Depends(get_caller)]


async def require_caller(request: Request, caller: MaybeCallerDep) -> Caller:
    """The caller, or 401."""
    if caller is None:
        raise Unauthorized
    # Whoever writes a later refusal down asks who it was.
    request.state.caller = caller
    return caller


CallerDep = Annotated[Caller, Depends(require_caller)]


async def require_admin(caller: CallerDep) -> Caller:
    """The caller where they are an admin, else 403; the row counts, not the token's claim."""
    if not caller.user.is_admin:
        raise NotAdmin
    return caller


AdminDep = Annotated[Caller, Depends(require_admin)]


async def get_client(request: Request) -> Client:
    """Where the request comes from; the middleware has settled whose word on that counts."""
    agent = "".join(filter(str.isprintable, request.headers.get("user-agent", "")))
    return Client(address=request.client.host[:45] if request.client else "", user_agent=agent[:200])


ClientDep = Annotated[Client, Depends(get_client)]

IdempotencyKeyDep = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        min_length=1,
        description="Repeat a request safely: the same key and request answer the same job.",
    ),
]


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
    caller: CallerDep,
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


async def get_activity(request: Request) -> Activity:
    """What the process has noted of the use of workspaces."""
    activity: Activity = request.app.state.activity
    return activity


ActivityDep = Annotated[Activity, Depends(get_activity)]
