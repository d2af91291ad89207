"""How each answer that the document names is provoked: one case for each operation, status and code."""

from datetime import timedelta
from functools import partial
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import httpx
from sqlalchemy import select, update

from app.health.presence import announce, presence_key
from app.models import EngineCapacity, User, Volume, Workspace, utcnow
from tests.api import sharing_cases
from tests.api.calls import (
    ACCEPTING,
    ADMIN,
    ADMINISTERING,
    ASKING,
    BY_QUERY,
    CALLS,
    CHANGING,
    ENDING,
    MAKING,
    NOWHERE,
    SHARING,
    SIGNED_IN,
    SIGNING_IN,
    SILENT,
    SPENDING,
    STARTING,
    STREAMING,
    call,
    good,
)
from tests.api.cases_jobs import JOB_CASES
from tests.api.cases_sessions import SESSION_CASES, Key, Provoke
from tests.api.cases_sign_in import invites_member, revokes, types_code
from tests.api.conftest import Scene
from tests.support.factories import make_token
from workers.loops.reconcile import reconcile_engine


async def succeeds(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, **good(name))


async def spends(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, **good(name, await scene.link()))


async def is_ready(scene: Scene) -> httpx.Response:
    resources = scene.resources
    await announce(resources.redis, presence_key(resources.settings, "workers"), "test:1", "ok", 10)
    return await call(scene, "readyz")


async def has_a_failing_loop(scene: Scene) -> httpx.Response:
    with patch("app.health.router.failing_loops", return_value=["relay_revocation"]):
        return await call(scene, "livez")


async def navigates(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, headers={"Accept": "text/html"}, **good(name, await scene.link()))


async def runs_already(scene: Scene) -> httpx.Response:
    await scene.launched(run=True)
    return await call(scene, "container_launch")


async def ends(name: str, scene: Scene) -> httpx.Response:
    await scene.launched()
    return await call(scene, name)


async def has_ended_already(name: str, scene: Scene) -> httpx.Response:
    await ends(name, scene)
    await scene.worker.drain()
    return await call(scene, name)


async def names_no_type(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, path=CALLS[name][1].replace("hello", "nonsense"), **good(name))


async def reaches_own_limit(name: str, scene: Scene) -> httpx.Response:
    await scene.launched(type="jupyter")
    return await call(scene, name, client=await scene.with_settings(user_running_limit=1))


async def finds_no_room(name: str, settings: dict[str, object], scene: Scene) -> httpx.Response:
    """The engine is full by one of its limits, and nobody may wait."""
    await scene.launched(type="jupyter")
    async with scene.resources.unit_of_work() as session:
        await session.merge(EngineCapacity(id=1, memory_bytes=8 << 30, cpus=4, disk_free_bytes=8 << 30))
    return await call(scene, name, client=await scene.with_settings(queue_limit=0, **settings))


FULL: dict[str, dict[str, object]] = {
    "capacity_launches": {"launches_at_once": 1},
    "capacity_running": {"running_limit": 1},
    "capacity_memory": {"memory_overcommit": 0.1},
    "capacity_cpu": {"cpu_overcommit": 0.1},
    "capacity_disk": {"min_free_disk_mb": 9 << 10},
}


async def volume_of(scene: Scene, **values: object) -> str:
    """The path of a volume of alice's."""
    async with scene.resources.unit_of_work() as session:
        volume = Volume(name=uuid4().hex, user_id=scene.alice.user.id, template="jupyter", **values)
        session.add(volume)
    return f"/api/volumes/{volume.id}"


async def deletes_volume(scene: Scene) -> httpx.Response:
    return await call(scene, "delete_volume", path=await volume_of(scene))


async def deletes_used_volume(scene: Scene) -> httpx.Response:
    await scene.launched()
    async with scene.resources.unit_of_work() as session:
        workspace_id = await session.scalar(select(Workspace.id))
    return await call(scene, "delete_volume", path=await volume_of(scene, workspace_id=workspace_id))


async def lists_volumes(scene: Scene) -> httpx.Response:
    await volume_of(scene)
    return await call(scene, "list_volumes")


async def extends_running(scene: Scene, until: str | None = None) -> httpx.Response:
    await scene.launched(run=True)
    return await call(scene, "extend_workspace", json={"until": until} if until else None)


async def extends_too_early(scene: Scene) -> httpx.Response:
    await scene.launched()
    return await call(scene, "extend_workspace")


async def changes_too_often(name: str, scene: Scene) -> httpx.Response:
    """With no change left for anybody."""
    await scene.launched()
    async with scene.resources.unit_of_work() as session:
        await session.execute(update(User).values(changes_until=utcnow() + timedelta(hours=1)))
    return await call(scene, name, **good(name))


async def misses_database(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, client=await scene.without_database(), **good(name))


async def is_stranger(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, headers={})


async def comes_from_elsewhere(name: str, scene: Scene) -> httpx.Response:
    who = scene.admin if name in ADMIN else scene.alice
    cookie = "; ".join(f"{key}={value}" for key, value in who.cookies.items())
    return await call(
        scene, name, headers={"Cookie": cookie, "Origin": "http://alice-hello.localhost:8080"}, **good(name)
    )


async def asks_for_anything(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, headers={"Accept": "*/*"}, **good(name, await scene.link()))


async def is_no_admin(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, headers=scene.alice.headers, **good(name))


async def sets_limit(scene: Scene) -> httpx.Response:
    path = f"/api/admin/users/{scene.alice.user.id}/limits"
    return await call(scene, "limit_user", path=path, json={"running_limit": None})


async def deletes_user(user: str, scene: Scene) -> httpx.Response:
    who = {"alice": scene.alice, "admin": scene.admin}[user]
    return await call(scene, "delete_user", path=f"/api/admin/users/{who.user.id}")


async def lists_mails(scene: Scene) -> httpx.Response:
    await call(scene, "signup", **good("signup"))
    return await call(scene, "list_mails", params={"state": "queued"})


async def looks_over(scene: Scene) -> httpx.Response:
    """With something in most parts."""
    await scene.launched()
    await reconcile_engine(scene.worker.context)
    return await call(scene, "overview")


async def shows_token(name: str, scene: Scene) -> httpx.Response:
    """One that is good for something else."""
    who, scope = (scene.admin, "workspaces") if name in ADMIN else (scene.alice, "admin")
    secret = await make_token(scene.resources, who.user, scope)
    return await call(scene, name, headers={"Authorization": f"Bearer {secret}"}, **good(name))


async def sends_nothing(name: str, scene: Scene) -> httpx.Response:
    body: dict[str, Any] = {} if name in BY_QUERY else {"json": {}}
    return await call(scene, name, **body)


async def sends_too_much(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, json=dict.fromkeys(("email", "token", "code", "reason"), "a" * 70_000))


async def asks_too_often(name: str, scene: Scene) -> httpx.Response:
    for _ in range(3):
        await succeeds(name, scene)
    return await succeeds(name, scene)


async def asks_too_often_from_here(name: str, scene: Scene) -> httpx.Response:
    crowded = await scene.with_settings(magic_links_per_hour_client=1, environment="production")
    await call(scene, name, client=crowded, **good(name))
    return await call(scene, name, client=crowded, **good(name))


async def spends_blocked(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, **good(name, await scene.link(blocked=True)))


async def sends_long_key(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, headers={**scene.alice.headers, "Idempotency-Key": "k" * 256})


async def uses_key_again(name: str, scene: Scene) -> httpx.Response:
    headers = {**scene.alice.headers, "Idempotency-Key": uuid4().hex}
    other = "container_launch" if name != "container_launch" else "container_restart"
    await call(scene, other, headers=headers)
    return await call(scene, name, headers=headers)


CASES: dict[Key, Provoke] = {
    # What needs more than a call is said again below.
    **{
        (name, 200, None): partial(succeeds, name)
        for name in CALLS
        if name not in (*STARTING, *SILENT, *STREAMING, *MAKING)
    },
    **{(name, 200, None): partial(spends, name) for name in SPENDING},
    ("livez", 503, None): has_a_failing_loop,
    ("readyz", 200, None): is_ready,
    ("readyz", 503, None): partial(misses_database, "readyz"),
    ("container_launch", 200, None): runs_already,
    ("list_users", 400, "invalid_request"): partial(call, name="list_users", params={"before": "x"}),
    ("list_users", 404, "not_found"): partial(call, name="list_users", params={"before": NOWHERE}),
    ("limit_user", 200, None): sets_limit,
    ("limit_user", 400, "invalid_request"): partial(call, name="limit_user", json={"running_limit": -1}),
    ("limit_user", 404, "not_found"): partial(succeeds, "limit_user"),
    ("limit_user", 413, "too_large"): partial(sends_too_much, "limit_user"),
    ("delete_user", 204, None): partial(deletes_user, "alice"),
    ("delete_user", 400, "invalid_request"): partial(call, name="delete_user", path="/api/admin/users/x"),
    ("delete_user", 404, "not_found"): partial(call, name="delete_user"),
    ("delete_user", 409, "last_admin"): partial(deletes_user, "admin"),
    ("list_mails", 200, None): lists_mails,
    ("list_mails", 400, "invalid_request"): partial(call, name="list_mails", params={"state": "lost"}),
    ("list_mails", 404, "not_found"): partial(call, name="list_mails", params={"before": NOWHERE}),
    ("overview", 200, None): looks_over,
    ("look_at_link", 200, None): partial(spends, "look_at_link"),
    ("look_at_link", 400, "invalid_request"): partial(sends_nothing, "look_at_link"),
    ("look_at_link", 400, "invalid_link"): partial(succeeds, "look_at_link"),
    ("look_at_link", 413, "too_large"): partial(sends_too_much, "look_at_link"),
    ("verify_code", 200, None): types_code,
    ("verify_code", 400, "invalid_request"): partial(sends_nothing, "verify_code"),
    ("verify_code", 400, "invalid_code"): partial(succeeds, "verify_code"),
    ("verify_code", 403, "blocked"): partial(types_code, blocked=True),
    ("verify_code", 413, "too_large"): partial(sends_too_much, "verify_code"),
    ("invite", 400, "invalid_request"): partial(sends_nothing, "invite"),
    ("invite", 409, "has_account"): invites_member,
    ("invite", 413, "too_large"): partial(sends_too_much, "invite"),
    ("list_invitations", 400, "invalid_request"): partial(call, name="list_invitations", params={"limit": 0}),
    ("list_invitations", 404, "not_found"): partial(call, name="list_invitations", params={"before": NOWHERE}),
    ("revoke_invitation", 204, None): revokes,
    ("revoke_invitation", 400, "invalid_request"): partial(
        call, name="revoke_invitation", path="/api/admin/invitations/x"
    ),
    ("revoke_invitation", 404, "not_found"): partial(call, name="revoke_invitation"),
    **sharing_cases.CASES,
    **{(name, 400, "invalid_request"): partial(sends_nothing, name) for name in (*MAKING, "accept_share")},
    **{(name, 413, "too_large"): partial(sends_too_much, name) for name in (*MAKING, "accept_share")},
    **{
        (name, 400, "unknown_template"): partial(names_no_type, name)
        for name in (*SHARING, "list_shares", "list_share_links", "revoke_share", "revoke_share_link")
    },
    **{(name, 403, "not_admin"): partial(is_no_admin, name) for name in ADMIN},
    **{(name, 200, None): partial(has_ended_already, name) for name in ENDING},
    **{
        (name, 400, "unknown_template"): partial(names_no_type, name)
        for name in (*ACCEPTING, "get_workspace")
        if name != "container_restart"
    },
    **SESSION_CASES,
    **JOB_CASES,
    ("extend_workspace", 200, None): extends_running,
    ("extend_workspace", 400, "unknown_template"): partial(
        call, name="extend_workspace", path="/api/container/nonsense/extend"
    ),
    ("extend_workspace", 400, "invalid_request"): partial(call, name="extend_workspace", json={}),
    ("extend_workspace", 400, "until_out_of_range"): partial(extends_running, until="2026-01-01T00:00:00Z"),
    ("extend_workspace", 413, "too_large"): partial(sends_too_much, "extend_workspace"),
    ("extend_workspace", 404, "not_found"): partial(call, name="extend_workspace"),
    ("extend_workspace", 409, "not_extendable"): extends_too_early,
    **{
        (name, 429, "too_many_changes"): partial(changes_too_often, name)
        for name in (*ACCEPTING, *SHARING, "accept_share", "make_token")
    },
    ("delete_volume", 204, None): deletes_volume,
    ("delete_volume", 400, "invalid_request"): partial(call, name="delete_volume", path="/api/volumes/x"),
    ("delete_volume", 404, "not_found"): partial(call, name="delete_volume"),
    ("delete_volume", 409, "volume_in_use"): deletes_used_volume,
    **{(name, 404, "not_found"): partial(call, name=name) for name in ENDING},
    ("list_volumes", 200, None): lists_volumes,
    **{(name, 202, None): partial(succeeds, name) for name in STARTING},
    **{(name, 202, None): partial(ends, name) for name in ENDING},
    **{(name, 303, None): partial(navigates, name) for name in BY_QUERY},
    **{(name, 400, "invalid_request"): partial(sends_nothing, name) for name in (*ASKING, *SPENDING)},
    **{(name, 400, "invalid_request"): partial(sends_long_key, name) for name in ACCEPTING},
    **{(name, 400, "invalid_link"): partial(succeeds, name) for name in SPENDING},
    **{(name, 401, "unauthorized"): partial(is_stranger, name) for name in SIGNED_IN},
    **{(name, 403, "insufficient_scope"): partial(shows_token, name) for name in SIGNED_IN},
    **{(name, 403, "cross_site"): partial(comes_from_elsewhere, name) for name in (*CHANGING, *ADMINISTERING)},
    **{(name, 403, "cross_site"): partial(comes_from_elsewhere, name) for name in SIGNING_IN},
    **{(name, 406, "not_acceptable"): partial(asks_for_anything, name) for name in BY_QUERY},
    **{(name, 403, "blocked"): partial(spends_blocked, name) for name in SPENDING},
    **{(name, 409, "idempotency_conflict"): partial(uses_key_again, name) for name in ACCEPTING},
    **{(name, 409, "quota_user_running"): partial(reaches_own_limit, name) for name in STARTING},
    **{(name, 503, code): partial(finds_no_room, name, FULL[code]) for name in STARTING for code in FULL},
    **{(name, 413, "too_large"): partial(sends_too_much, name) for name in (*ASKING, "verify")},
    **{(name, 429, "rate_limited"): partial(asks_too_often, name) for name in ASKING},
    **{(name, 429, "rate_limited_client"): partial(asks_too_often_from_here, name) for name in ASKING},
    **{
        (name, 503, "unavailable"): partial(misses_database, name)
        for name in CALLS
        if name not in ("livez", "readyz", "refresh")
    },
}
