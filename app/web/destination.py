"""Where a visitor was going when they had to sign in: a local path in a short-lived cookie, nothing else."""

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, unquote, urlencode

from fastapi import Depends, Query, Request, Response

from app.errors import NotFound
from app.gateway.handoff import is_token, safe_path
from app.gateway.names import split_route
from app.settings import Settings

LIFE_SECONDS = 900
# Browsers drop cookies of more than 4096 bytes, name and attributes included, and quoting makes three bytes of one.
LONGEST = 1200
# Where share links lead: what they are for stands in their fragment.
SHARE = "/share"
_LOCAL = re.compile(rf"{SHARE}|/open/[a-z0-9]+-[a-z0-9]+(\?[A-Za-z0-9%._~=&+*-]*)?")


@dataclass(frozen=True, slots=True)
class Destination:
    """A path within a workspace. `state` ties the visit to the browser that has been at the workspace's origin."""

    route: str
    slug: str
    template: str
    path: str
    state: str | None

    @property
    def query(self) -> str:
        """What carries path and state along; may be empty."""
        parts = {"next": self.path if self.path != "/" else None, "state": self.state}
        return urlencode({name: value for name, value in parts.items() if value})

    @property
    def local(self) -> str:
        """The page of ours that leads there."""
        return f"/open/{self.route}" + (f"?{self.query}" if self.query else "")


async def find_destination(
    route: str, path: Annotated[str, Query(alias="next")] = "/", state: str | None = None
) -> Destination:
    """Read `/open/{route}`; raises `NotFound` where that can be no workspace's name."""
    names = split_route(route)
    if names is None:
        raise NotFound
    known = state if state is not None and is_token(state) else None
    return Destination(route, *names, safe_path(path), known)


DestinationDep = Annotated[Destination, Depends(find_destination)]


def _name(settings: Settings) -> str:
    return "__Host-spawner_next" if settings.secure_cookies else "spawner_next"


def remember(answer: Response, settings: Settings, destination: Destination) -> None:
    """Keep the destination until the visitor has signed in."""
    local = destination.local if len(destination.local) <= LONGEST else f"/open/{destination.route}"
    remember_path(answer, settings, local)


def remember_path(answer: Response, settings: Settings, local: str) -> None:
    """Keep a path of ours that the visitor comes back to."""
    _set(answer, settings, quote(local, safe=""), LIFE_SECONDS)


def forget(request: Request, answer: Response, settings: Settings) -> None:
    """The visitor has arrived."""
    if _name(settings) in request.cookies:
        _set(answer, settings, "", 0)


def remembered(request: Request, settings: Settings) -> str | None:
    """The local path to go to after signing in. The cookie's word counts for a workspace and for share links alone."""
    local = unquote(request.cookies.get(_name(settings), ""))
    return local if _LOCAL.fullmatch(local) else None


def _set(answer: Response, settings: Settings, value: str, seconds: int) -> None:
    answer.set_cookie(
        _name(settings),
        value,
        max_age=seconds,
        path="/",
        secure=settings.secure_cookies,
        httponly=True,
        samesite="lax",
    )
