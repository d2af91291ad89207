"""Answers to admins that need more than a call."""

import asyncio
from dataclasses import replace
from functools import partial
from uuid import uuid4

import httpx
from sqlalchemy import select

from app.core.supervise import background_task
from app.models import JobState, Workspace, WorkspaceStatus
from tests.api.cases import FULL, OwnCases, fills_engine
from tests.api.cases_workspaces import Away, cancels_too_late
from tests.api.conftest import Scene
from tests.api.operations import call, send_good
from tests.api.streaming import make_job, make_workspace
from tests.support.factories import sign_in
from tests.support.fakes import FakeRuntime
from workers.loops.logs import serve_logs
from workers.loops.reconcile import reconcile_engine


async def of_user(scene: Scene, name: str, *, admin: bool = False) -> httpx.Response:
    """Call an operation on alice or the admin, and on their session where it has one."""
    who = scene.admin if admin else scene.alice
    return await send_good(scene, name, id=who.user.id, session_id=who.session.id)


async def of_workspace(
    scene: Scene, name: str, *, template: str = "hello", status: WorkspaceStatus = WorkspaceStatus.RUNNING
) -> httpx.Response:
    """Call an operation on a workspace of somebody who has just come."""
    somebody = await sign_in(scene.resources, f"u{uuid4().hex[:16]}")
    workspace = await make_workspace(scene.resources, somebody.user, status, template=template)
    return await call(scene, name, id=workspace.id)


async def enters(scene: Scene, name: str) -> httpx.Response:
    await scene.launched()
    async with scene.resources.reads() as session:
        return await send_good(scene, name, id=await session.scalar(select(Workspace.id)))


async def finds_workspace(scene: Scene, name: str) -> httpx.Response:
    await scene.launched()
    return await call(scene, name, params={"type": "hello", "status": "queued"})


async def reaches_owners_limit(scene: Scene, name: str) -> httpx.Response:
    await scene.launched(type="jupyter")
    return await restarts_stopped(scene, name, await scene.with_settings(user_running_limit=1))


async def finds_no_room(scene: Scene, name: str, settings: dict[str, object]) -> httpx.Response:
    return await restarts_stopped(scene, name, await fills_engine(scene, settings))


async def restarts_stopped(scene: Scene, name: str, client: httpx.AsyncClient) -> httpx.Response:
    """Restart a workspace of alice's that was stopped, on another API."""
    async with scene.resources.unit_of_work() as session:
        stopped = await session.scalar(select(Workspace.id).where(Workspace.template == "hello"))
    if stopped is None:
        stopped = (await make_workspace(scene.resources, scene.alice.user, WorkspaceStatus.STOPPED)).id
    return await call(scene, name, id=stopped, client=client)


async def reads_log(scene: Scene, name: str, engine: FakeRuntime | None = None) -> httpx.Response:
    context = scene.worker.context if engine is None else replace(scene.worker.context, runtime=engine)
    async with background_task(asyncio.create_task(serve_logs(context))):
        return await of_workspace(scene, name)


async def of_job(scene: Scene, name: str) -> httpx.Response:
    return await call(scene, name, id=(await make_job(scene.resources, scene.alice.user, JobState.QUEUED)).id)


async def lists_jobs(scene: Scene, name: str) -> httpx.Response:
    await make_job(scene.resources, scene.alice.user, JobState.SUCCEEDED)
    return await call(scene, name, params={"kind": "launch"})


async def reads_trail(scene: Scene, name: str) -> httpx.Response:
    await of_user(scene, "change_user")
    return await call(scene, name, params={"since": "2026-01-01T00:00:00Z"})


async def looks_back(scene: Scene, name: str) -> httpx.Response:
    await scene.launched()
    await of_workspace(scene, "stop_any")
    return await call(scene, name)


async def looks_over(scene: Scene, name: str) -> httpx.Response:
    """With something in most parts."""
    await scene.launched()
    await reconcile_engine(scene.worker.context)
    return await call(scene, name)


async def lists_mails(scene: Scene, name: str) -> httpx.Response:
    await send_good(scene, "signup")
    return await call(scene, name, params={"state": "queued"})


async def invites_member(scene: Scene, name: str) -> httpx.Response:
    return await call(scene, name, json={"email": scene.alice.user.email})


async def revokes_invitation(scene: Scene, name: str) -> httpx.Response:
    made = await send_good(scene, "invite")
    return await call(scene, name, id=made.json()["id"])


OF_USER = {
    "get_user": 200,
    "change_user": 200,
    "limit_user": 200,
    "user_sessions": 200,
    "end_user_session": 204,
    "end_user_sessions": 204,
    "delete_user": 204,
}
ADMIN_CASES: OwnCases = {
    **dict.fromkeys(OF_USER.items(), of_user),
    **{(name, "last_admin"): partial(of_user, admin=True) for name in ("change_user", "delete_user")},
    ("take_access", 201): enters,
    ("list_mails", 200): lists_mails,
    ("overview", 200): looks_over,
    ("invite", "has_account"): invites_member,
    ("revoke_invitation", 204): revokes_invitation,
    ("list_workspaces", 200): finds_workspace,
    **{(name, 202): of_workspace for name in ("stop_any", "restart_any", "delete_any")},
    ("restart_any", "unknown_template"): partial(of_workspace, template="gone"),
    ("restart_any", "quota_user_running"): reaches_owners_limit,
    **{("restart_any", code): partial(finds_no_room, settings=settings) for code, settings in FULL.items()},
    ("read_any_log", 200): reads_log,
    ("read_any_log", "no_container"): partial(of_workspace, status=WorkspaceStatus.NOT_CREATED),
    ("read_any_log", "logs_unavailable"): partial(reads_log, engine=Away(0)),
    ("list_all_jobs", 200): lists_jobs,
    **{(name, 200): of_job for name in ("get_any_job", "cancel_any_job")},
    ("cancel_any_job", "not_cancellable"): cancels_too_late,
    **{(name, 200): reads_trail for name in ("list_audit", "export_audit")},
    ("activity", 200): looks_back,
}
