"""Answers of probes, sign-in, sessions and personal tokens that need more than a call."""

from datetime import timedelta
from functools import partial
from unittest.mock import patch
from uuid import uuid4

import httpx
from sqlalchemy import select

from app.accounts.users import find_or_create
from app.auth.magic_links import make_link
from app.health.presence import announce, presence_key
from app.models import ApiToken, LinkRequest, utcnow
from tests.api.cases import OwnCases, misses_database
from tests.api.conftest import Scene
from tests.api.operations import BY_QUERY, call, send_good
from tests.support.factories import sign_in


async def is_ready(scene: Scene, name: str) -> httpx.Response:
    resources = scene.resources
    await announce(resources.redis, presence_key(resources.settings, "workers"), "test:1", "ok", 10)
    return await call(scene, name)


async def has_a_failing_loop(scene: Scene, name: str) -> httpx.Response:
    with patch("app.health.service.failing_loops", return_value=["relay_revocation"]):
        return await call(scene, name)


async def spends(scene: Scene, name: str) -> httpx.Response:
    return await send_good(scene, name, await scene.link())


async def navigates(scene: Scene, name: str) -> httpx.Response:
    return await send_good(scene, name, await scene.link(), headers={"Accept": "text/html"})


async def types_code(scene: Scene, name: str, *, blocked: bool = False) -> httpx.Response:
    """In the browser that asked, with the code that the mail would show."""
    address = f"u{utcnow().timestamp():.6f}@example.org".replace(".", "", 1)
    await call(scene, "signup", json={"email": address})
    async with scene.resources.unit_of_work() as session:
        request = (await session.scalars(select(LinkRequest).where(LinkRequest.email == address))).one()
        user = await find_or_create(session, address)
        user.blocked_at = utcnow() if blocked else None
        make_link(session, scene.resources, user, request, "7K2MQ9XD")
    return await send_good(scene, name)


async def refreshes(scene: Scene, name: str, client: httpx.AsyncClient | None = None) -> httpx.Response:
    own = {"Cookie": f"spawner_refresh={scene.alice.refresh}", "Sec-Fetch-Site": "same-origin"}
    return await call(scene, name, client=client, own=own)


async def refreshes_without_database(scene: Scene, name: str) -> httpx.Response:
    return await refreshes(scene, name, await scene.without_database())


async def is_not_refreshed(scene: Scene, name: str) -> httpx.Response:
    return await call(scene, name, headers={"Sec-Fetch-Site": "same-origin"})


async def ends_session(scene: Scene, name: str) -> httpx.Response:
    other = await sign_in(scene.resources, scene.alice.user)
    return await call(scene, name, id=other.session.id)


async def revokes_token(scene: Scene, name: str) -> httpx.Response:
    made = (await send_good(scene, "make_token")).json()["id"]
    return await call(scene, name, id=made)


async def lists_tokens(scene: Scene, name: str) -> httpx.Response:
    await send_good(scene, "make_token")
    return await call(scene, name)


async def makes_admins_token(scene: Scene, name: str) -> httpx.Response:
    return await call(scene, name, json={"name": "x", "scopes": ["admin"], "days": 1})


async def has_fifty_tokens(scene: Scene, name: str) -> httpx.Response:
    async with scene.resources.unit_of_work() as session:
        values = {"user_id": scene.alice.user.id, "name": "x", "scopes": ["read"]}
        end = utcnow() + timedelta(days=1)
        session.add_all(ApiToken(**values, expires_at=end, token_hash=uuid4().bytes) for _ in range(50))
    return await send_good(scene, name)


SIGN_IN_CASES: OwnCases = {
    ("livez", 503): has_a_failing_loop,
    ("readyz", 200): is_ready,
    ("readyz", 503): misses_database,
    **{(name, 200): spends for name in ("verify", "look_at_link", *BY_QUERY)},
    **{(name, 303): navigates for name in BY_QUERY},
    ("verify_code", 200): types_code,
    ("verify_code", "blocked"): partial(types_code, blocked=True),
    ("refresh", 204): refreshes,
    ("refresh", "not_refreshed"): is_not_refreshed,
    ("refresh", "unavailable"): refreshes_without_database,
    ("end_session", 204): ends_session,
    ("make_token", "not_admin"): makes_admins_token,
    ("make_token", "too_many_tokens"): has_fifty_tokens,
    ("list_tokens", 200): lists_tokens,
    ("revoke_token", 204): revokes_token,
}
