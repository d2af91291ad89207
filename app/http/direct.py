"""Routes without FastAPI's layers and dependencies, for frequent requests."""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import AppError
from app.http import problems

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class DirectRoute(APIRoute):
    """A route whose endpoint takes the request and returns the response.

    Parameters stand in `dependencies`, for the document; FastAPI validates them where a request is not plain.
    """

    def is_plain(self, request: Request) -> bool:  # noqa: ARG002  # for routes with parameters
        """Whether the endpoint can read the request's parameters without validation."""
        return True


def directly(
    router: APIRouter, method: str, path: str, route_class: type[DirectRoute] = DirectRoute, **options: Any
) -> Callable[[Endpoint], Endpoint]:
    """`router.get` or `router.post` for a direct route."""

    def add(endpoint: Endpoint) -> Endpoint:
        router.add_api_route(path, endpoint, methods=[method], route_class_override=route_class, **options)
        return endpoint

    return add


def direct_routes(routers: Iterable[APIRouter]) -> list[DirectRoute]:
    """Return the routers' direct routes, in order."""
    return [route for router in routers for route in router.routes if isinstance(route, DirectRoute)]


class DirectRoutesMiddleware:
    """Innermost ASGI middleware: answers plain requests to direct routes, past all layers of FastAPI."""

    def __init__(self, app: ASGIApp, routes: Sequence[DirectRoute]) -> None:
        self.app = app
        self._routes = {
            method: [route for route in routes if method in (route.methods or ())] for method in ("GET", "POST")
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = self._find(scope, receive) if scope["type"] == "http" else None
        if request is None:
            await self.app(scope, receive, send)
            return
        try:
            response: Response = await request.scope["route"].endpoint(request)
        except AppError as error:
            response = await problems.answer(request, error)
        await response(request.scope, receive, send)

    def _find(self, scope: Scope, receive: Receive) -> Request | None:
        """The plain request to a direct route that this is, or None."""
        for route in self._routes.get(scope["method"], ()):
            if (match := route.path_regex.match(scope["path"])) is not None:
                request = Request({**scope, "route": route, "path_params": match.groupdict()}, receive)
                return request if route.is_plain(request) else None
        return None
