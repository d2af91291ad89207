"""Routes without FastAPI's dependency machinery, for frequent requests."""

from collections.abc import Callable, Coroutine
from copy import copy
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute, iter_route_contexts

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class DirectRoute(APIRoute):
    """Passes the request to its endpoint, which returns the response.

    `dependencies` declare the parameters for OpenAPI; FastAPI validates them if a request is not plain.
    """

    def is_plain(self, request: Request) -> bool:  # noqa: ARG002  # for routes with parameters
        """Return whether the endpoint can read the parameters without validation."""
        return True

    def get_route_handler(self) -> Endpoint:
        validated = super().get_route_handler()

        async def handle(request: Request) -> Response:
            answer: Response = await (self.endpoint if self.is_plain(request) else validated)(request)
            return answer

        return handle


def get_directly(
    router: APIRouter, path: str, route_class: type[DirectRoute] = DirectRoute, **options: Any
) -> Callable[[Endpoint], Endpoint]:
    """`router.get` for a direct route."""

    def add(endpoint: Endpoint) -> Endpoint:
        router.add_api_route(path, endpoint, methods=["GET"], route_class_override=route_class, **options)
        return endpoint

    return add


def match_first(app: FastAPI) -> None:
    """Match direct routes first: FastAPI tries every route of a router in turn."""
    found = [context.original_route for context in iter_route_contexts(app.routes)]
    for route in reversed([one for one in found if isinstance(one, DirectRoute)]):
        first = copy(route)
        first.include_in_schema = False
        app.router.routes.insert(0, first)
