"""Direct routes are answered before FastAPI's layers, and stand in the document once."""

import httpx
from fastapi import FastAPI

from app.http.direct import direct_routes
from app.main import ROUTERS
from tests.support.factories import SignedIn

DIRECT = {"get_job", "container_status", "list_containers", "container_launch"}


def test_direct_routes_are_in_the_document(app: FastAPI) -> None:
    assert {route.operation_id for route in direct_routes(ROUTERS)} == DIRECT
    listed = [operation["operationId"] for item in app.openapi()["paths"].values() for operation in item.values()]
    assert [listed.count(name) for name in DIRECT] == [1, 1, 1, 1]


async def test_a_plain_request_passes_no_router(app: FastAPI, client: httpx.AsyncClient, alice: SignedIn) -> None:
    app.router.routes.clear()
    assert (await client.get("/api/container/status", headers=alice.headers)).status_code == 200
    refused = await client.get("/api/container/status")
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert "x-frame-options" in refused.headers
    assert (await client.get("/api/jobs/none", headers=alice.headers)).status_code == 404
    assert (await client.post("/api/container/launch/hello", headers=alice.headers)).status_code == 202
    unknown = await client.post("/api/container/launch/none", headers=alice.headers)
    assert (unknown.status_code, unknown.json()["code"]) == (400, "unknown_template")
    assert (await client.post("/api/container/launch/hello")).status_code == 401
