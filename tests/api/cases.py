"""How each answer of the API is provoked: errors by their code, and what needs more by operation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from uuid import uuid4

import httpx
from sqlalchemy import select, update

from app.http.patience import HEADER
from app.models import EngineCapacity, Session, Share, ShareLink, User, Workspace, utcnow
from tests.api.conftest import Scene
from tests.api.operations import OPERATIONS, Answer, call, own_headers, send_good
from tests.support.driving import admit_waiting
from tests.support.factories import make_token

Provoke = Callable[[Scene, str], Awaitable[httpx.Response]]


async def sends_invalid(scene: Scene, name: str) -> httpx.Response:
    return await call(scene, name, **OPERATIONS[name].invalid)


async def is_stranger(scene: Scene, name: str) -> httpx.Response:
    return await call(scene, name, own={})


async def shows_token(scene: Scene, name: str) -> httpx.Response:
    """One that is good for something else."""
    who, scope = (scene.admin, "workspaces") if OPERATIONS[name].who.is_admin else (scene.alice, "admin")
    secret = await make_token(scene.resources, who.user, scope)
    return await send_good(scene, name, own={"Authorization": f"Bearer {secret}"})


async def comes_from_elsewhere(scene: Scene, name: str) -> httpx.Response:
    who = scene.admin if OPERATIONS[name].who.is_admin else scene.alice
    cookie = "; ".join(f"{key}={value}" for key, value in who.cookies.items())
    return await send_good(scene, name, own={"Cookie": cookie, "Origin": "http://alice-hello.localhost:8080"})


async def is_no_admin(scene: Scene, name: str) -> httpx.Response:
    return await send_good(scene, name, own=scene.alice.headers)


async def signed_in_long_ago(scene: Scene, name: str) -> httpx.Response:
    """With a session that began yesterday."""
    async with scene.resources.unit_of_work() as session:
        await session.execute(update(Session).values(created_at=utcnow() - timedelta(days=1)))
    return await send_good(scene, name, change="promote")


async def misses_database(scene: Scene, name: str) -> httpx.Response:
    return await send_good(scene, name, client=await scene.without_database())


async def sends_too_much(scene: Scene, name: str) -> httpx.Response:
    return await call(scene, name, json=dict.fromkeys(("email", "token", "code", "reason"), "a" * 70_000))


async def stands_still(scene: Scene, name: str) -> httpx.Response:
    """Sends the beginning of a body, with the limit that the proxy names."""

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    return await call(scene, name, content=body(), headers={HEADER: "100ms", "Content-Type": "application/json"})


async def finds_nothing(scene: Scene, name: str) -> httpx.Response:
    """What it names is not there: a page's beginning, where it names nothing else."""
    if "{" not in OPERATIONS[name].path:
        return await call(scene, name, params={"before": str(uuid4())})
    return await send_good(scene, name)


async def names_no_type(scene: Scene, name: str) -> httpx.Response:
    return await send_good(scene, name, type="nonsense")


async def changes_too_often(scene: Scene, name: str) -> httpx.Response:
    """With no change left for anybody."""
    await scene.launched()
    async with scene.resources.unit_of_work() as session:
        await session.execute(update(User).values(changes_until=utcnow() + timedelta(hours=1)))
    return await send_good(scene, name)


async def uses_key_again(scene: Scene, name: str) -> httpx.Response:
    headers = {"Idempotency-Key": uuid4().hex}
    other = "container_launch" if name != "container_launch" else "container_restart"
    await call(scene, other, headers=headers)
    return await call(scene, name, headers=headers)


async def reaches_own_limit(scene: Scene, name: str) -> httpx.Response:
    await scene.launched(type="jupyter")
    return await call(scene, name, client=await scene.with_settings(user_running_limit=1))


async def fills_engine(scene: Scene, settings: dict[str, object]) -> httpx.AsyncClient:
    """An API whose engine is full by one of its limits, and where nobody may wait."""
    await scene.launched(type="jupyter")
    await admit_waiting(scene.resources)
    async with scene.resources.unit_of_work() as session:
        await session.merge(EngineCapacity(id=1, memory_bytes=8 << 30, cpus=4, disk_free_bytes=8 << 30))
    return await scene.with_settings(queue_limit=0, **settings)


async def finds_no_room(scene: Scene, name: str, settings: dict[str, object]) -> httpx.Response:
    return await call(scene, name, client=await fills_engine(scene, settings))


async def waits_too_often(scene: Scene, name: str) -> httpx.Response:
    """With no place for anybody who waits."""
    job = (await scene.launched())["status_url"].rpartition("/")[2]
    query = {"get_job": {"wait": 1}, "container_logs": {"follow": True}}.get(name, {})
    return await call(scene, name, client=await scene.with_settings(user_streams=0), id=job, params=query)


async def asks_too_often(scene: Scene, name: str) -> httpx.Response:
    for _ in range(3):
        await send_good(scene, name)
    return await send_good(scene, name)


async def asks_too_often_from_here(scene: Scene, name: str) -> httpx.Response:
    crowded = await scene.with_settings(magic_links_per_hour_client=1, environment="production")
    await send_good(scene, name, client=crowded)
    return await send_good(scene, name, client=crowded)


async def spends_blocked(scene: Scene, name: str) -> httpx.Response:
    return await send_good(scene, name, await scene.link(blocked=True))


async def asks_for_anything(scene: Scene, name: str) -> httpx.Response:
    return await send_good(scene, name, await scene.link(), headers={"Accept": "*/*"})


async def shares_an_origin(scene: Scene, name: str) -> httpx.Response:
    """Where workspaces have one origin in common."""
    client = await scene.with_settings(workspace_url="http://127.0.0.1:8080/{route}")
    return await send_good(scene, name, client=client)


async def shares_too_often(scene: Scene, name: str) -> httpx.Response:
    await scene.launched()
    soon = utcnow() + timedelta(hours=1)
    async with scene.resources.unit_of_work() as session:
        workspace_id = await session.scalar(select(Workspace.id))
        for number in range(50):
            session.add(Share(workspace_id=workspace_id, email=f"{scene.locale}{number}@example.org"))
        for number in range(20):
            token = scene.resources.tokens.hash("share", f"{scene.locale}{number}")
            session.add(ShareLink(workspace_id=workspace_id, token_hash=token, expires_at=soon))
    own = scene.admin.headers if name == "accept_share" else own_headers(scene, name)
    return await send_good(scene, name, f"{scene.locale}1", own=own)


# Settings by which an engine is full.
FULL: dict[str, dict[str, object]] = {
    "capacity_launches": {"launches_at_once": 1},
    "capacity_running": {"running_limit": 1},
    "capacity_memory": {"memory_overcommit": 0.1},
    "capacity_cpu": {"cpu_overcommit": 0.1},
    "capacity_disk": {"min_free_disk_mb": 9 << 10},
}
# Whatever the operation, these leave nothing behind: one scene serves for all of them.
HARMLESS: dict[str, Provoke] = {
    "invalid_request": sends_invalid,
    "unauthorized": is_stranger,
    "insufficient_scope": shows_token,
    "cross_site": comes_from_elsewhere,
    "not_admin": is_no_admin,
    "sign_in_again": signed_in_long_ago,
    "not_found": finds_nothing,
    "unknown_template": names_no_type,
    "too_large": sends_too_much,
    "request_stalled": stands_still,
    "unavailable": misses_database,
    "shared_origin": shares_an_origin,
    "invalid_link": send_good,
    "invalid_code": send_good,
    "invalid_share_link": send_good,
    "blocked": spends_blocked,
    "not_acceptable": asks_for_anything,
}
BY_CODE: dict[str, Provoke] = {
    **HARMLESS,
    "rate_limited": asks_too_often,
    "rate_limited_client": asks_too_often_from_here,
    "too_many_changes": changes_too_often,
    "idempotency_conflict": uses_key_again,
    "quota_user_running": reaches_own_limit,
    **{code: partial(finds_no_room, settings=settings) for code, settings in FULL.items()},
    "too_many_streams": waits_too_often,
    "too_many_shares": shares_too_often,
    "no_container": call,
}
OwnCases = dict[Answer, Provoke]
