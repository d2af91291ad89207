"""Routes without FastAPI's dependency machinery, for what clients ask again and again."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class DirectRoute(APIRoute):
    """Hands the request to its endpoint, which returns the response.

    Parameters stand in `dependencies`, for the document; FastAPI validates them where a request is not plain.
    """

    def is_plain(self, request: Request) -> bool:  # noqa: ARG002  # for routes with parameters
        """Whether the endpoint can read the request's parameters without validation."""
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
