"""The page before a workspace, `/open/{route}`, and its target in the workspace."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Query

from app.core.addresses import safe_path, split_route
from app.core.errors import NotFound
from app.security.tokens import is_token


@dataclass(frozen=True, slots=True)
class Destination:
    """A path in a workspace. `state` binds the visit to the browser that came from the workspace's origin."""

    route: str
    slug: str
    template: str
    path: str
    state: str | None

    @property
    def query(self) -> str:
        """The query with path and state; may be empty."""
        parts = {"next": self.path if self.path != "/" else None, "state": self.state}
        return urlencode({name: value for name, value in parts.items() if value})

    @property
    def local(self) -> str:
        """The address on our own origin."""
        return f"/open/{self.route}" + (f"?{self.query}" if self.query else "")


async def find_destination(
    route: str, path: Annotated[str, Query(alias="next")] = "/", state: str | None = None
) -> Destination:
    """Parse `/open/{route}`; raises `NotFound` if no workspace can have this name."""
    names = split_route(route)
    if names is None:
        raise NotFound
    known = state if state is not None and is_token(state) else None
    return Destination(route, *names, safe_path(path), known)


DestinationDep = Annotated[Destination, Depends(find_destination)]
