"""Direct routes stand before all others, and in the document once."""

from fastapi import FastAPI

from app.http.direct import DirectRoute

DIRECT = {"get_job", "container_status", "list_containers"}


def test_direct_routes_are_matched_first(app: FastAPI) -> None:
    first = [route for route in app.routes[: len(DIRECT)] if isinstance(route, DirectRoute)]
    assert {route.operation_id for route in first} == DIRECT
    assert not any(route.include_in_schema for route in first)
