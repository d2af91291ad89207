"""Dependencies of every router: open resources, unit of work, language, origin check."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import Forbidden
from app.core.i18n import Locale
from app.http.negotiation import locale_of
from app.resources import Resources

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


async def get_resources(request: Request) -> Resources:
    """Return the resources opened by the lifespan."""
    resources: Resources = request.app.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(get_resources)]


async def get_session(resources: ResourcesDep) -> AsyncIterator[AsyncSession]:
    """Open the request's unit of work."""
    async with resources.unit_of_work() as session:
        yield session


# scope="function" commits before the response is sent: a commit cannot fail after a 202.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


async def get_read_session(resources: ResourcesDep) -> AsyncIterator[AsyncSession]:
    """Open an autocommit session for reads."""
    async with resources.reads() as session:
        yield session


# scope="function" returns the connection before the response is sent.
ReadSessionDep = Annotated[AsyncSession, Depends(get_read_session, scope="function")]


async def get_locale(request: Request) -> Locale:
    """Return the language of the response."""
    return locale_of(request)


LocaleDep = Annotated[Locale, Depends(get_locale)]


async def check_same_origin(request: Request) -> None:
    """Reject an unsafe request that a browser sends with our cookie from another origin.

    Checks `Sec-Fetch-Site` if present, else requires our exact Origin. `same-site` is not enough: workspaces are
    same-site.
    """
    if request.method in SAFE_METHODS:
        return
    sites, origins = request.headers.getlist("sec-fetch-site"), request.headers.getlist("origin")
    if not sites and not origins:
        raise Forbidden
    # All Origin headers are checked: proxies and servers disagree on which of several counts.
    ours = request.app.state.settings.public_url
    if any(site != "same-origin" for site in sites) or any(origin != ours for origin in origins):
        raise Forbidden


async def check_sign_in_origin(request: Request) -> None:
    """Reject cross-site pages that request, preview or redeem sign-in links: no cookie protects these routes.

    Programs send neither header. Allowed pages are ours and those of CORS_ORIGINS, which receive no cookie.
    """
    sites, origins = request.headers.getlist("sec-fetch-site"), request.headers.getlist("origin")
    settings = request.app.state.settings
    if origins and all(origin in settings.cors_origins for origin in origins):
        return
    if any(site not in ("same-origin", "none") for site in sites):
        raise Forbidden
    if any(origin != settings.public_url for origin in origins):
        raise Forbidden


IdempotencyKeyDep = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        min_length=1,
        description="Makes repeating a request safe: the same key and request return the same job.",
    ),
]
