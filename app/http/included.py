"""Routers as routes that any number of applications share."""

from fastapi import APIRouter
from starlette.routing import BaseRoute


def included(*routers: APIRouter) -> list[BaseRoute]:
    """Return the routers' routes, in order, to be added to applications' own.

    FastAPI prepares included routes at the first request, for each `include_router` anew: a millisecond each. These are
    prepared once for a process, however many applications it builds.
    """
    whole = APIRouter()
    for router in routers:
        whole.include_router(router)
    return whole.routes
