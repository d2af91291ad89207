"""GET requests read without a transaction."""

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from app.http.dependencies import get_session

# An export is recorded in the audit trail. (Signing in by GET opens its units of work by itself.)
WRITING = {"export_audit"}


def calls(dependant: Dependant) -> Iterator[Callable[..., Any] | None]:
    """What a route depends on, directly or not."""
    for one in dependant.dependencies:
        yield one.call
        yield from calls(one)


def test_a_get_request_opens_no_unit_of_work(app: FastAPI) -> None:
    opens: dict[str, bool] = {}
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            opens[route.operation_id or route.path] = get_session in calls(route.dependant)
    assert {name for name, opened in opens.items() if opened} == WRITING
    assert len(opens) > 40
