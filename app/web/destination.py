"""The address of a page before a workspace: `/open/{route}`, and where in the workspace it leads."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Query

from app.core.addresses import safe_path, split_route
from app.core.errors import NotFound
from app.security.tokens import is_token


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
