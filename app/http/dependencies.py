"""Dependencies of every router: the open resources, a unit of work, the language, and the origin of a request."""

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


async def get_read_session(resources: ResourcesDep) -> AsyncIterator[AsyncSession]:
    """A session that reads: each statement stands alone, without BEGIN and COMMIT around it."""
    async with resources.reads() as session:
        yield session


# scope="function" gives the connection back before the answer is sent.
ReadSessionDep = Annotated[AsyncSession, Depends(get_read_session, scope="function")]


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
    sites, origins = request.headers.getlist("sec-fetch-site"), request.headers.getlist("origin")
    if not sites and not origins:
        raise Forbidden
    # All of them, should there be several: no proxy and no server agrees with another on which one counts.
    ours = request.app.state.settings.public_url
    if any(site != "same-origin" for site in sites) or any(origin != ours for origin in origins):
        raise Forbidden


async def check_sign_in_origin(request: Request) -> None:
    """Refuse to ask for a link, look at one or sign in for another site's page, which no cookie would keep from it.

    Programs send neither header. Of pages, our own may, and those of CORS_ORIGINS, which get no cookie by it.
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
        description="Repeat a request safely: the same key and request answer the same job.",
    ),
]
