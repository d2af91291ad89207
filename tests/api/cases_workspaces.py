"""Answers about workspaces, jobs, logs, volumes and shares that need more than a call."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
from sqlalchemy import select, update

from app.core.supervise import background_task
from app.models import Job, JobState, Volume, Workspace
from app.runtime.base import EngineUnavailable, Status
from tests.api.cases import OwnCases
from tests.api.conftest import Scene
from tests.api.operations import call, send_good
from tests.api.streaming import make_job, make_workspace
from tests.support.factories import sign_in
from tests.support.fakes import FakeRuntime
from workers.loops.logs import serve_logs


async def launches(scene: Scene, name: str, *, run: bool = False, **request: Any) -> httpx.Response:
    """Call an operation on a workspace that was launched."""
    await scene.launched(run=run)
    return await call(scene, name, **request)


async def has_ended_already(scene: Scene, name: str) -> httpx.Response:
    await launches(scene, name)
    await scene.worker.drain()
    return await call(scene, name)


async def volume_of(scene: Scene, **values: object) -> UUID:
    """A volume of alice's."""
    async with scene.resources.unit_of_work() as session:
        volume = Volume(name=uuid4().hex, user_id=scene.alice.user.id, template="jupyter", **values)
        session.add(volume)
    return volume.id


async def deletes_volume(scene: Scene, name: str) -> httpx.Response:
    return await call(scene, name, id=await volume_of(scene))


async def deletes_used_volume(scene: Scene, name: str) -> httpx.Response:
    await scene.launched()
    async with scene.resources.unit_of_work() as session:
        workspace_id = await session.scalar(select(Workspace.id))
    return await call(scene, name, id=await volume_of(scene, workspace_id=workspace_id))


async def lists_volumes(scene: Scene, name: str) -> httpx.Response:
    await volume_of(scene)
    return await call(scene, name)


async def of_launch(scene: Scene, name: str) -> httpx.Response:
    """Call an operation on the job of a launch."""
    return await call(scene, name, id=(await scene.launched())["job"]["id"])


async def reads_job_again(scene: Scene, name: str) -> httpx.Response:
    first = await of_launch(scene, name)
    job = first.request.url.path.rpartition("/")[2]
    return await call(scene, name, id=job, headers={"If-None-Match": first.headers["ETag"]})


async def cancels_too_late(scene: Scene, name: str) -> httpx.Response:
    """The stop has begun: a worker has it."""
    await scene.launched(run=True)
    job = (await call(scene, "stop_workspace")).json()["job"]["id"]
    async with scene.resources.unit_of_work() as session:
        await session.execute(update(Job).where(Job.id == UUID(job)).values(engine_contacted=True))
    return await call(scene, name, id=job)


async def reads_events(scene: Scene, name: str) -> httpx.Response:
    return await call(scene, name, id=(await make_job(scene.resources, scene.alice.user, JobState.SUCCEEDED)).id)


async def has_the_last_event(scene: Scene, name: str) -> httpx.Response:
    first = await reads_events(scene, name)
    job, seen = first.request.url.path.split("/")[3], first.text.rpartition("id: ")[2].strip()
    return await call(scene, name, id=job, headers={"Last-Event-ID": seen})


async def reads_log(scene: Scene, name: str) -> httpx.Response:
    await make_workspace(scene.resources, scene.alice.user)
    async with background_task(asyncio.create_task(serve_logs(scene.worker.context))):
        return await call(scene, name)


async def has_the_logs_end(scene: Scene, name: str) -> httpx.Response:
    return await call(scene, name, params={"follow": True}, headers={"Last-Event-ID": "end"})


class Away(FakeRuntime):
    """An engine that does not answer."""

    async def status(self, name: str) -> Status:
        raise EngineUnavailable


async def finds_no_engine(scene: Scene, name: str) -> httpx.Response:
    scene.alice = await sign_in(scene.resources, f"u{scene.locale}")
    await make_workspace(scene.resources, scene.alice.user)
    async with background_task(asyncio.create_task(serve_logs(replace(scene.worker.context, runtime=Away(0))))):
        return await call(scene, name)


async def shares(scene: Scene, name: str) -> httpx.Response:
    await scene.launched()
    return await send_good(scene, name)


async def lists_after_sharing(scene: Scene, name: str) -> httpx.Response:
    for made in ("make_share", "make_share_link"):
        await shares(scene, made)
    return await call(scene, name)


async def accepts(scene: Scene, name: str = "accept_share") -> httpx.Response:
    """The admin opens a link into alice's workspace."""
    link = (await shares(scene, "make_share_link")).json()["url"]
    return await send_good(scene, name, link.partition("=")[2], own=scene.admin.headers)


async def lists_shared(scene: Scene, name: str) -> httpx.Response:
    await accepts(scene)
    return await call(scene, name, own=scene.admin.headers)


async def unshares(scene: Scene, name: str) -> httpx.Response:
    """The admin leaves, or alice takes back, what the admin has accepted."""
    share = (await accepts(scene)).json()["id"]
    if name == "revoke_share_link":
        share = (await call(scene, "list_share_links")).json()["links"][0]["id"]
    own = (scene.admin if name == "leave_share" else scene.alice).headers
    return await call(scene, name, id=share, own=own)


WORKSPACE_CASES: OwnCases = {
    ("container_launch", 200): partial(launches, run=True),
    **{(name, 202): send_good for name in ("container_launch", "container_restart", "restart_workspace")},
    **{(name, 200): has_ended_already for name in ("stop_workspace", "delete_workspace")},
    **{(name, 202): launches for name in ("stop_workspace", "delete_workspace")},
    ("extend_workspace", 200): partial(launches, run=True),
    ("extend_workspace", "until_out_of_range"): partial(launches, run=True, json={"until": "2026-01-01T00:00:00Z"}),
    ("extend_workspace", "not_extendable"): launches,
    ("container_logs", 200): reads_log,
    ("container_logs", 204): has_the_logs_end,
    ("container_logs", "logs_unavailable"): finds_no_engine,
    ("get_job", 200): of_launch,
    ("get_job", 304): reads_job_again,
    ("cancel_job", 200): of_launch,
    ("cancel_job", "not_cancellable"): cancels_too_late,
    ("job_events", 200): reads_events,
    ("job_events", 204): has_the_last_event,
    ("list_volumes", 200): lists_volumes,
    ("delete_volume", 204): deletes_volume,
    ("delete_volume", "volume_in_use"): deletes_used_volume,
    **{(name, 201): shares for name in ("make_share", "make_share_link")},
    **{(name, 200): lists_after_sharing for name in ("list_shares", "list_share_links")},
    **{(name, 204): unshares for name in ("revoke_share", "revoke_share_link", "leave_share")},
    ("list_shared", 200): lists_shared,
    ("accept_share", 200): accepts,
}
