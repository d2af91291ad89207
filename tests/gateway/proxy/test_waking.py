"""What a visit does for a workspace: it is noted, wakes a paused one, and may start a stopped one."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update
from websockets.asyncio.client import ClientConnection

from app.gateway import wake
from app.gateway.last_activity import Activity
from app.models import AuditEntry, Job, JobKind, JobState, User, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.runtime.base import Report
from app.runtime.spec import WorkspaceSpec
from app.workspaces import service
from tests.conftest import TestWorker
from tests.support.driving import until
from tests.support.fakes import FakeRuntime
from tests.support.proxy import APART, Owned, Site
from tests.support.sockets import last, socket_to
from tests.support.statements import counted

S = WorkspaceStatus


@pytest.fixture(autouse=True)
def peer_is_the_container(site: Site, runtime: FakeRuntime) -> None:
    """What the fake engine starts answers as the peer."""
    runtime.port = site.edge.peer_port


async def jobs(site: Site) -> list[Job]:
    async with site.resources.reads() as session:
        return list(await session.scalars(select(Job).order_by(Job.created_at)))


async def row(site: Site, owned: Owned) -> Workspace:
    async with site.resources.reads() as session:
        return await session.get_one(Workspace, owned.workspace.id)


async def change(site: Site, owned: Owned, **values: Any) -> None:
    async with site.resources.unit_of_work() as session:
        await session.execute(update(Workspace).where(Workspace.id == owned.workspace.id).values(**values))


async def pause_begins(resources: Resources, owned: Owned) -> Job:
    async with resources.unit_of_work() as session:
        workspace = await session.get_one(Workspace, owned.workspace.id, with_for_update=True)
        job = await service.begin(session, resources, workspace, JobKind.PAUSE, reason="idle_pause")
        assert job is not None
        return job


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_request_wakes_a_paused_workspace_and_is_answered(site: Site, worker: TestWorker, method: str) -> None:
    owned = await site.own(status=S.PAUSED)
    async with worker.running(reconciling=False):
        answer = await site.ask(owned.route, "/api?x=1", owned.cookie, method)
    assert (answer.status_code, answer.text) == (200, "two\n")
    assert (last(site).method, last(site).target) == (method, "/api?x=1")
    assert [(job.kind, job.by_system, job.state) for job in await jobs(site)] == [
        (JobKind.LAUNCH, False, JobState.SUCCEEDED)
    ]


async def test_a_websocket_to_a_paused_workspace_connects(site: Site, worker: TestWorker) -> None:
    owned = await site.own(status=S.PAUSED)
    connection: ClientConnection
    async with worker.running(reconciling=False), socket_to(site, owned, site.origin(owned.route)) as connection:
        await connection.send("hello")
        assert await connection.recv() == "hello"


async def test_many_requests_at_once_to_a_paused_workspace_make_one_job(site: Site, worker: TestWorker) -> None:
    owned = await site.own(status=S.PAUSED)
    async with worker.running(reconciling=False):
        answers = await asyncio.gather(*(site.ask(owned.route, f"/{n}", owned.cookie) for n in range(30)))
    assert [answer.status_code for answer in answers] == [200] * 30
    assert len(await jobs(site)) == 1


async def test_requests_that_come_while_it_wakes_wait_for_it(
    site: Site, worker: TestWorker, runtime: FakeRuntime
) -> None:
    owned = await site.own(status=S.PAUSED)
    at_the_engine, go_on = asyncio.Event(), asyncio.Event()

    async def slow(spec: WorkspaceSpec, report: Report) -> None:
        at_the_engine.set()
        await go_on.wait()

    runtime.before = slow
    async with worker.running(reconciling=False), asyncio.TaskGroup() as group:
        first = group.create_task(site.ask(owned.route, "/", owned.cookie))
        await at_the_engine.wait()
        assert (await row(site, owned)).status not in (S.PAUSED, S.RUNNING)
        second = group.create_task(site.ask(owned.route, "/", owned.cookie))
        await asyncio.sleep(0)
        go_on.set()
    assert (first.result().status_code, second.result().status_code) == (200, 200)
    assert len(await jobs(site)) == 1


async def test_one_that_does_not_wake_in_time_is_refused_as_not_running(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "WAKE_SECONDS", 1.5)
    owned = await site.own(status=S.PAUSED)
    answer = await site.ask(owned.route, "/", owned.cookie)
    assert (answer.status_code, answer.json()["code"]) == (503, "workspace_not_running")
    assert answer.headers["retry-after"] == "3"
    assert [job.state for job in await jobs(site)] == [JobState.QUEUED]


async def test_a_request_takes_back_the_pause_that_is_about_to_come(
    site: Site, worker: TestWorker, runtime: FakeRuntime
) -> None:
    owned = await site.own()
    pause = await pause_begins(site.resources, owned)

    async def is_taken_back() -> bool:
        return len(await jobs(site)) == 2

    async with asyncio.TaskGroup() as group:
        answer = group.create_task(site.ask(owned.route, "/", owned.cookie))
        await until(is_taken_back)
        await worker.drain()
    assert answer.result().status_code == 200
    superseded, launch = await jobs(site)
    assert (superseded.id, superseded.state) == (pause.id, JobState.SUPERSEDED)
    assert (launch.kind, launch.state) == (JobKind.LAUNCH, JobState.SUCCEEDED)
    assert (await row(site, owned)).status is S.RUNNING


async def test_nobody_else_wakes_it(site: Site) -> None:
    owned = await site.own(status=S.PAUSED)
    bob = await site.own("bob")
    assert (await site.ask(owned.route, "/", bob.cookie)).status_code == 404
    assert (await site.ask(owned.route)).status_code == 401
    assert (await site.visit(owned.route)).status_code == 302
    assert await jobs(site) == []


@pytest.mark.parametrize("status", [S.STOPPED, S.NOT_CREATED, S.ERROR])
async def test_opening_a_stopped_workspace_starts_it_and_leads_there(
    site: Site, worker: TestWorker, status: WorkspaceStatus
) -> None:
    owned = await site.own(status=status)
    await change(site, owned, status_at=utcnow() - timedelta(hours=1))
    page = await site.visit(owned.route, "/", {**owned.cookie, "Accept-Language": "de"})
    assert page.status_code == 503
    assert "Arbeitsplatz startet" in page.text
    assert 'http-equiv="refresh" content="3"' in page.text
    assert page.headers["retry-after"] == "3"
    assert [job.kind for job in await jobs(site)] == [JobKind.LAUNCH]
    again = await site.visit(owned.route, "/", owned.cookie)
    assert "Workspace is starting" in again.text
    await worker.drain()
    assert (await site.visit(owned.route, "/", owned.cookie)).status_code == 200
    assert len(await jobs(site)) == 1


async def test_opening_what_ends_by_itself_again_and_again_comes_to_an_end(site: Site) -> None:
    site.settings.user_changes_per_hour = 2
    owned = await site.own(status=S.STOPPED)
    for status in (503, 503, 429):
        assert (await site.visit(owned.route, "/", owned.cookie)).status_code == status
        async with site.resources.unit_of_work() as session:
            await session.execute(update(Job).values(state=JobState.SUCCEEDED, finished_at=utcnow()))
        await change(site, owned, status=S.STOPPED, reserved_memory=None, reserved_cpus=None)
    assert len(await jobs(site)) == 2


async def test_only_a_person_who_opens_a_page_starts_a_stopped_workspace(site: Site) -> None:
    owned = await site.own(status=S.STOPPED)
    other = await site.own(owned.owner, "jupyter", status=S.STOPPED)
    assert (await site.ask(owned.route, "/api", owned.cookie)).status_code == 503
    assert (await site.visit(other.route, "/", other.cookie)).status_code == 503
    assert await jobs(site) == []


async def test_the_page_of_a_workspace_that_has_just_failed_does_not_start_it_again(site: Site) -> None:
    owned = await site.own(status=S.ERROR)
    page = await site.visit(owned.route, "/", owned.cookie)
    assert "could not be started" in page.text
    assert 'http-equiv="refresh"' not in page.text
    assert await jobs(site) == []


async def test_a_limit_that_refuses_the_start_is_named_on_the_page(site: Site) -> None:
    owned = await site.own(status=S.STOPPED)
    other = await site.own(owned.owner, "jupyter")
    await change(site, other, reserved_memory=1, reserved_cpus=1)
    async with site.resources.unit_of_work() as session:
        await session.execute(update(User).values(running_limit=1))
    page = await site.visit(owned.route, "/", owned.cookie)
    assert page.status_code == 409
    assert "Your limit of running workspaces (1) is reached." in page.text
    assert (await row(site, owned)).status is S.STOPPED


async def test_a_request_to_a_running_workspace_costs_one_query_and_is_noted_once_a_minute(site: Site) -> None:
    owned = await site.own(template="jupyter")
    before = utcnow()
    assert (await site.ask(owned.route, "/", owned.cookie)).status_code == 200
    noted = (await row(site, owned)).active_at
    assert noted is not None
    assert noted > before
    await change(site, owned, active_at=before)
    async with counted(site.resources.engine, site.resources.reader) as statements:
        assert (await site.ask(owned.route, "/", owned.cookie)).status_code == 200
    assert len(statements) == 1, statements
    assert (await row(site, owned)).active_at == before


async def test_use_that_comes_while_a_pause_begins_waits_for_it_and_is_judged_anew(site: Site) -> None:
    owned = await site.own()
    template = site.resources.catalog.default
    activity, stale = Activity(), owned.workspace.generation

    async def waits_for_the_row() -> bool:
        async with site.resources.reads() as session:
            return bool(await session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

    async with site.resources.unit_of_work() as session:
        workspace = await session.get_one(Workspace, owned.workspace.id, with_for_update=True)
        await service.begin(session, site.resources, workspace, JobKind.PAUSE, reason="idle_pause")
        noting = asyncio.create_task(activity.record_activity(site.resources, owned.workspace.id, stale, template))
        await until(waits_for_the_row)
    assert not await noting
    assert (await row(site, owned)).active_at is None
    assert await activity.record_activity(site.resources, owned.workspace.id, stale + 1, template)
    assert (await row(site, owned)).active_at is not None


@APART
async def test_who_is_let_in_wakes_a_paused_workspace(site: Site, worker: TestWorker) -> None:
    owner = await site.own(status=S.PAUSED)
    visitor = await site.visitor(owner, "bob")
    used = utcnow() - timedelta(days=1)
    await change(site, owner, last_used=used, restarts=2)
    async with worker.running(reconciling=False):
        answer = await site.ask(visitor.route, "/", visitor.cookie)
    assert (answer.status_code, last(site).get("x-spawner-user")) == (200, ["bob"])
    # The audit trail names the visitor, and nothing says that the owner was there.
    async with site.resources.reads() as session:
        asked = select(AuditEntry.actor_id).where(AuditEntry.action == "workspace_launch_requested")
        assert (await session.scalars(asked)).all() == [visitor.owner.user.id]
    woken = await row(site, owner)
    assert (woken.last_used, woken.restarts) == (used, 2)
    assert [(job.kind, job.user_id) for job in await jobs(site)] == [(JobKind.LAUNCH, owner.owner.user.id)]


@APART
async def test_who_is_let_in_does_not_start_a_stopped_workspace(site: Site) -> None:
    owner = await site.own(status=S.STOPPED)
    visitor = await site.visitor(owner, "bob")
    answer = await site.ask(visitor.route, "/", visitor.cookie)
    assert (answer.status_code, answer.json()["code"]) == (503, "shared_not_running")
    page = await site.visit(visitor.route, "/", {**visitor.cookie, "Accept-Language": "de"})
    assert page.status_code == 503
    assert "Nur wem er gehört" in page.text
    assert f'href="{site.settings.public_url}/"' in page.text
    assert await jobs(site) == []
