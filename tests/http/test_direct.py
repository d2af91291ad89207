"""Direct routes are answered before FastAPI's layers, stand before all others, and in the document once."""

import httpx
from fastapi import FastAPI

from app.http.direct import DirectRoute
from tests.support.factories import SignedIn

DIRECT = {"get_job", "container_status", "list_containers"}


def test_direct_routes_are_matched_first(app: FastAPI) -> None:
    first = [route for route in app.routes[: len(DIRECT)] if isinstance(route, DirectRoute)]
    assert {route.operation_id for route in first} == DIRECT
    assert not any(route.include_in_schema for route in first)


async def test_a_plain_request_passes_no_router(app: FastAPI, client: httpx.AsyncClient, alice: SignedIn) -> None:
    app.router.routes.clear()
    assert (await client.get("/api/container/status", headers=alice.headers)).status_code == 200
    refused = await client.get("/api/container/status")
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert "x-frame-options" in refused.headers
    assert (await client.get("/api/jobs/none", headers=alice.headers)).status_code == 404
