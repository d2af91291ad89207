"""The cases of `tests.api.cases` that are about jobs, their events, and logs."""

import asyncio
from dataclasses import replace
from functools import partial
from uuid import UUID

import httpx
from sqlalchemy import update

from app.core.supervise import background_task
from app.models import Job, JobState
from app.runtime.base import EngineUnavailable, Status
from tests.api.calls import CALLS, NOWHERE, call
from tests.api.cases_sessions import Key, Provoke
from tests.api.conftest import Scene
from tests.api.streaming import make_job, make_workspace
from tests.support.factories import sign_in
from tests.support.fakes import FakeRuntime
from workers.loops.logs import serve_logs


async def cancels(scene: Scene) -> httpx.Response:
    return await call(scene, "cancel_job", path=f"{(await scene.launched())['status_url']}/cancel")


async def cancels_too_late(scene: Scene) -> httpx.Response:
    """The stop has begun: a worker has it."""
    await scene.launched(run=True)
    job = (await call(scene, "stop_workspace")).json()["job"]["id"]
    async with scene.resources.unit_of_work() as session:
        await session.execute(update(Job).where(Job.id == UUID(job)).values(engine_contacted=True))
    return await call(scene, "cancel_job", path=f"/api/jobs/{job}/cancel")


async def reads_job(scene: Scene) -> httpx.Response:
    return await call(scene, "get_job", path=(await scene.launched())["status_url"])


async def reads_job_again(scene: Scene) -> httpx.Response:
    first = await reads_job(scene)
    headers = {**scene.alice.headers, "If-None-Match": first.headers["ETag"]}
    return await call(scene, "get_job", path=first.request.url.path, headers=headers)


async def reads_events(scene: Scene) -> httpx.Response:
    job = await make_job(scene.resources, scene.alice.user, JobState.SUCCEEDED)
    return await call(scene, "job_events", path=f"/api/jobs/{job.id}/events")


async def has_the_last_event(scene: Scene) -> httpx.Response:
    first = await reads_events(scene)
    seen = first.text.rpartition("id: ")[2].strip()
    headers = {**scene.alice.headers, "Last-Event-ID": seen}
    return await call(scene, "job_events", path=first.request.url.path, headers=headers)


async def waits_too_often(name: str, scene: Scene) -> httpx.Response:
    """With no place for anybody who waits."""
    job = (await scene.launched())["status_url"].rpartition("/")[2]
    client = await scene.with_settings(user_streams=0)
    query = {"get_job": {"wait": 1}, "container_logs": {"follow": True}}.get(name, {})
    path = CALLS[name][1].replace(NOWHERE, job)
    return await call(replace(scene, client=client), name, path=path, params=query)


async def reads_log(scene: Scene) -> httpx.Response:
    await make_workspace(scene.resources, scene.alice.user)
    async with background_task(asyncio.create_task(serve_logs(scene.worker.context))):
        return await call(scene, "container_logs")


async def has_the_logs_end(scene: Scene) -> httpx.Response:
    headers = {**scene.alice.headers, "Last-Event-ID": "end"}
    return await call(scene, "container_logs", params={"follow": True}, headers=headers)


class Away(FakeRuntime):
    """An engine that does not answer."""

    async def status(self, name: str) -> Status:
        raise EngineUnavailable


async def finds_no_engine(scene: Scene) -> httpx.Response:
    scene.alice = await sign_in(scene.resources, f"u{scene.locale}")
    await make_workspace(scene.resources, scene.alice.user)
    async with background_task(asyncio.create_task(serve_logs(replace(scene.worker.context, runtime=Away(0))))):
        return await call(scene, "container_logs")


JOB_CASES: dict[Key, Provoke] = {
    ("list_jobs", 400, "invalid_request"): partial(call, name="list_jobs", params={"limit": 101}),
    ("list_jobs", 404, "not_found"): partial(call, name="list_jobs", params={"before": NOWHERE}),
    ("job_events", 200, None): reads_events,
    ("job_events", 204, None): has_the_last_event,
    ("job_events", 400, "invalid_request"): partial(call, name="job_events", path="/api/jobs/1/events"),
    ("job_events", 404, "not_found"): partial(call, name="job_events"),
    ("container_logs", 200, None): reads_log,
    ("container_logs", 204, None): has_the_logs_end,
    ("container_logs", 400, "invalid_request"): partial(call, name="container_logs", params={"tail": 2001}),
    ("container_logs", 400, "unknown_template"): partial(
        call, name="container_logs", path="/api/container/nonsense/logs"
    ),
    ("container_logs", 404, "no_container"): partial(call, name="container_logs"),
    ("container_logs", 503, "logs_unavailable"): finds_no_engine,
    **{
        (name, 429, "too_many_streams"): partial(waits_too_often, name)
        for name in ("get_job", "job_events", "container_logs")
    },
    ("get_job", 200, None): reads_job,
    ("get_job", 304, None): reads_job_again,
    ("get_job", 400, "invalid_request"): partial(call, name="get_job", params={"wait": 31}),
    ("get_job", 404, "not_found"): partial(call, name="get_job"),
    ("cancel_job", 200, None): cancels,
    ("cancel_job", 400, "invalid_request"): partial(call, name="cancel_job", path="/api/jobs/x/cancel"),
    ("cancel_job", 404, "not_found"): partial(call, name="cancel_job"),
    ("cancel_job", 409, "not_cancellable"): cancels_too_late,
}
