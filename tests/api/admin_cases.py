"""How each answer to admins is provoked, and all cases together."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
from sqlalchemy import select, update

from app.core.supervise import background_task
from app.models import EngineCapacity, Job, JobState, Session, Workspace, WorkspaceStatus, utcnow
from tests.api import cases
from tests.api.calls import ANYBODYS, CALLS, NOWHERE, call, good, stands_still
from tests.api.cases import FULL
from tests.api.cases_jobs import Away
from tests.api.cases_sessions import Key, Provoke
from tests.api.conftest import Scene
from tests.api.streaming import make_job, make_workspace
from tests.support.factories import sign_in
from tests.support.fakes import FakeRuntime
from workers.loops.logs import serve_logs


async def of_user(name: str, user: str, scene: Scene) -> httpx.Response:
    """Call an operation on one of the two, and on their session where it has one."""
    who = {"alice": scene.alice, "admin": scene.admin}[user]
    path = CALLS[name][1].replace(NOWHERE, str(who.user.id), 1).replace(NOWHERE, str(who.session.id))
    return await call(scene, name, path=path)


async def signed_in_long_ago(name: str, scene: Scene) -> httpx.Response:
    """Call an operation that needs a recent sign-in, with a session that began yesterday."""
    async with scene.resources.unit_of_work() as session:
        await session.execute(update(Session).values(created_at=utcnow() - timedelta(days=1)))
    path = CALLS[name][1].replace("/block", "/promote")
    return await call(scene, name, path=path, **good(name))


async def of_workspace(
    name: str, scene: Scene, *, template: str = "hello", status: WorkspaceStatus = WorkspaceStatus.RUNNING
) -> httpx.Response:
    """Call an operation on a workspace of somebody who has just come."""
    somebody = await sign_in(scene.resources, f"u{uuid4().hex[:16]}")
    workspace = await make_workspace(scene.resources, somebody.user, status, template=template)
    return await call(scene, name, path=CALLS[name][1].replace(NOWHERE, str(workspace.id)))


async def finds_workspace(scene: Scene) -> httpx.Response:
    await scene.launched()
    return await call(scene, "list_workspaces", params={"type": "hello", "status": "queued"})


async def reaches_owners_limit(scene: Scene) -> httpx.Response:
    await scene.launched(type="jupyter")
    return await restarts_stopped(scene, await scene.with_settings(user_running_limit=1))


async def finds_no_room(settings: dict[str, object], scene: Scene) -> httpx.Response:
    await scene.launched(type="jupyter")
    async with scene.resources.unit_of_work() as session:
        await session.merge(EngineCapacity(id=1, memory_bytes=8 << 30, cpus=4, disk_free_bytes=8 << 30))
    return await restarts_stopped(scene, await scene.with_settings(queue_limit=0, **settings))


async def restarts_stopped(scene: Scene, client: httpx.AsyncClient) -> httpx.Response:
    """Restart a workspace of alice's that was stopped, on another API."""
    async with scene.resources.unit_of_work() as session:
        stopped = await session.scalar(select(Workspace.id).where(Workspace.template == "hello"))
    if stopped is None:
        stopped = (await make_workspace(scene.resources, scene.alice.user, WorkspaceStatus.STOPPED)).id
    return await call(scene, "restart_any", path=f"/api/admin/workspaces/{stopped}/restart", client=client)


async def reads_log(engine: FakeRuntime | None, scene: Scene) -> httpx.Response:
    context = scene.worker.context if engine is None else replace(scene.worker.context, runtime=engine)
    async with background_task(asyncio.create_task(serve_logs(context))):
        return await of_workspace("read_any_log", scene)


async def of_job(name: str, scene: Scene) -> httpx.Response:
    job = await make_job(scene.resources, scene.alice.user, JobState.QUEUED)
    return await call(scene, name, path=CALLS[name][1].replace(NOWHERE, str(job.id)))


async def lists_jobs(scene: Scene) -> httpx.Response:
    await make_job(scene.resources, scene.alice.user, JobState.SUCCEEDED)
    return await call(scene, "list_all_jobs", params={"kind": "launch"})


async def cancels_too_late(scene: Scene) -> httpx.Response:
    """The stop has begun: a worker has it."""
    await scene.launched(run=True)
    job = (await call(scene, "stop_workspace")).json()["job"]["id"]
    async with scene.resources.unit_of_work() as session:
        await session.execute(update(Job).where(Job.id == UUID(job)).values(engine_contacted=True))
    return await call(scene, "cancel_any_job", path=f"/api/admin/jobs/{job}/cancel")


async def reads_trail(name: str, scene: Scene) -> httpx.Response:
    await of_user("change_user", "alice", scene)
    return await call(scene, name, params={"since": "2026-01-01T00:00:00Z"})


async def looks_back(scene: Scene) -> httpx.Response:
    await scene.launched()
    await of_workspace("stop_any", scene)
    return await call(scene, "activity")


INVALID: dict[str, dict[str, Any]] = {
    "get_user": {"path": "/api/admin/users/x"},
    "change_user": {"path": "/api/admin/users/x/block"},
    "user_sessions": {"params": {"before": "x"}},
    "end_user_session": {"path": f"/api/admin/users/{NOWHERE}/sessions/x"},
    "end_user_sessions": {"path": "/api/admin/users/x/sessions"},
    "list_workspaces": {"params": {"status": "lost"}},
    "stop_any": {"path": "/api/admin/workspaces/x/stop"},
    "restart_any": {"path": "/api/admin/workspaces/x/restart"},
    "delete_any": {"params": {"volume": "both"}},
    "read_any_log": {"params": {"tail": 2001}},
    "list_all_jobs": {"params": {"state": "lost"}},
    "get_any_job": {"path": "/api/admin/jobs/x"},
    "cancel_any_job": {"path": "/api/admin/jobs/x/cancel"},
    "list_audit": {"params": {"before": "x"}},
    "export_audit": {"params": {"since": "2026-01-01T00:00:00"}},
    "activity": {"params": {"limit": 101}},
}
STRONGEST = ("change_user", "delete_user", "take_access")
PAGED = ("list_workspaces", "list_all_jobs")
OF_ONE = (
    "get_user",
    "change_user",
    "user_sessions",
    "end_user_session",
    "end_user_sessions",
    *ANYBODYS,
    "read_any_log",
    "get_any_job",
    "cancel_any_job",
)

CASES: dict[Key, Provoke] = {
    **{key: case for key, case in cases.CASES.items() if key[:2] not in {(name, 200) for name in ANYBODYS}},
    **{(name, 400, "invalid_request"): partial(call, name=name, **sent) for name, sent in INVALID.items()},
    **{(name, 404, "not_found"): partial(call, name=name, params={"before": NOWHERE}) for name in PAGED},
    **{(name, 404, "not_found"): partial(call, name=name) for name in OF_ONE},
    **{(name, 200, None): partial(of_user, name, "alice") for name in ("get_user", "change_user", "user_sessions")},
    **{(name, 204, None): partial(of_user, name, "alice") for name in ("end_user_session", "end_user_sessions")},
    **{(name, 403, "sign_in_again"): partial(signed_in_long_ago, name) for name in STRONGEST},
    ("change_user", 409, "last_admin"): partial(of_user, "change_user", "admin"),
    ("list_workspaces", 200, None): finds_workspace,
    **{(name, 202, None): partial(of_workspace, name) for name in ANYBODYS},
    ("restart_any", 400, "unknown_template"): partial(of_workspace, "restart_any", template="gone"),
    ("restart_any", 409, "quota_user_running"): reaches_owners_limit,
    **{("restart_any", 503, code): partial(finds_no_room, FULL[code]) for code in FULL},
    ("read_any_log", 200, None): partial(reads_log, None),
    ("read_any_log", 404, "no_container"): partial(of_workspace, "read_any_log", status=WorkspaceStatus.NOT_CREATED),
    ("read_any_log", 503, "logs_unavailable"): partial(reads_log, Away(0)),
    ("list_all_jobs", 200, None): lists_jobs,
    **{(name, 200, None): partial(of_job, name) for name in ("get_any_job", "cancel_any_job")},
    ("cancel_any_job", 409, "not_cancellable"): cancels_too_late,
    **{(name, 200, None): partial(reads_trail, name) for name in ("list_audit", "export_audit")},
    ("activity", 200, None): looks_back,
}
# What has a body that may be too large has one that may stand still.
CASES |= {(name, 408, "request_stalled"): partial(stands_still, name) for name, status, _ in CASES if status == 413}
