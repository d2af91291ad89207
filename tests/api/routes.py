"""Every route that the application has, in the document or not, as somebody would ask for it."""

import re

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount

from tests.api.operations import NOWHERE, PLACES

OF_PAGES = {**PLACES, "kind": "stop", "route": "alice-hello"}
# What ends the session, or launches a workspace whose logs others would wait for.
LAST = ("/launch/hello", "/restart", "/logout", "/sign-out")


def addresses(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of each route, its places filled, so ordered that none disturbs the next."""
    found = set()
    for context in iter_route_contexts(app.routes):
        if context.methods is None:
            assert isinstance(context.original_route, Mount), "an answer that no test looks at"
            continue
        assert context.path is not None
        path = re.sub(r"{(\w+)(:\w+)?}", lambda place: OF_PAGES.get(place[1], NOWHERE), context.path)
        found |= {(method, path) for method in context.methods}
    assert len(found) > 40
    return sorted(found, key=lambda route: (route[1].endswith(LAST), route[1], route[0]))
