"""The cases of `tests.api.cases` that are about sessions and personal tokens."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from uuid import uuid4

import httpx

from app.models import ApiToken, utcnow
from tests.api.calls import call, good
from tests.api.conftest import Scene
from tests.support.factories import sign_in

Provoke = Callable[[Scene], Awaitable[httpx.Response]]
Key = tuple[str, int, str | None]


async def make(scene: Scene) -> httpx.Response:
    return await call(scene, "make_token", **good("make_token"))


async def refreshes(
    scene: Scene, *, site: str = "same-origin", client: httpx.AsyncClient | None = None
) -> httpx.Response:
    headers = {"Cookie": f"spawner_refresh={scene.alice.refresh}", "Sec-Fetch-Site": site}
    return await call(scene, "refresh", client=client, headers=headers)


async def refreshes_without_database(scene: Scene) -> httpx.Response:
    return await refreshes(scene, client=await scene.without_database())


async def is_not_refreshed(scene: Scene) -> httpx.Response:
    return await call(scene, "refresh", headers={"Sec-Fetch-Site": "same-origin"})


async def ends_session(scene: Scene) -> httpx.Response:
    other = await sign_in(scene.resources, scene.alice.user)
    return await call(scene, "end_session", path=f"/api/auth/sessions/{other.session.id}")


async def revokes(scene: Scene) -> httpx.Response:
    made = (await make(scene)).json()["id"]
    return await call(scene, "revoke_token", path=f"/api/auth/tokens/{made}")


async def lists_tokens(scene: Scene) -> httpx.Response:
    await make(scene)
    return await call(scene, "list_tokens")


async def has_fifty_tokens(scene: Scene) -> httpx.Response:
    async with scene.resources.unit_of_work() as session:
        values = {"user_id": scene.alice.user.id, "name": "x", "scopes": ["read"]}
        end = utcnow() + timedelta(days=1)
        session.add_all(ApiToken(**values, expires_at=end, token_hash=uuid4().bytes) for _ in range(50))
    return await make(scene)


SESSION_CASES: dict[Key, Provoke] = {
    ("refresh", 204, None): refreshes,
    ("refresh", 401, "not_refreshed"): is_not_refreshed,
    ("refresh", 403, "cross_site"): partial(refreshes, site="same-site"),
    ("end_session", 204, None): ends_session,
    ("end_session", 400, "invalid_request"): partial(call, name="end_session", path="/api/auth/sessions/x"),
    ("end_session", 404, "not_found"): partial(call, name="end_session"),
    ("end_others", 204, None): partial(call, name="end_others"),
    ("make_token", 201, None): make,
    ("make_token", 400, "invalid_request"): partial(call, name="make_token", json={}),
    ("make_token", 403, "not_admin"): partial(
        call, name="make_token", json={"name": "x", "scopes": ["admin"], "days": 1}
    ),
    ("make_token", 409, "too_many_tokens"): has_fifty_tokens,
    ("make_token", 413, "too_large"): partial(call, name="make_token", json={"name": "a" * 70_000}),
    ("list_tokens", 200, None): lists_tokens,
    ("revoke_token", 204, None): revokes,
    ("revoke_token", 400, "invalid_request"): partial(call, name="revoke_token", path="/api/auth/tokens/x"),
    ("revoke_token", 404, "not_found"): partial(call, name="revoke_token"),
    ("refresh", 503, "unavailable"): refreshes_without_database,
}
