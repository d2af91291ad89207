"""Why a launch failed: what the engine said, and what the container wrote last."""

import httpx
from sqlalchemy import update

from app.models import Job, JobState, Workspace, WorkspaceStatus
from app.resources import Resources
from app.runtime.base import NameTaken
from tests.api.streaming import make_job
from tests.conftest import TestWorker
from tests.factories import make_user, sign_in
from tests.fakes import FakeRuntime
from tests.support.driving import accept, drive, read
from tests.support.logs import LoggingRuntime, numbered, working
from tests.workers.test_workspaces import failing


async def test_what_the_engine_said_is_kept_for_admins_without_secrets(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    secret = resources.settings.secret_key
    runtime.before = failing(NameTaken(f"the container x belongs to somebody else\n{secret}"))
    job = await accept(resources)
    await drive(worker, job)
    row, _, events = await read(resources, job)
    assert (row.error_code, events[-1].detail) == ("name_taken", "name_taken")
    assert row.cause == r"the container x belongs to somebody else\n[removed]"


async def test_the_log_of_a_workspace_that_failed_is_what_was_kept_of_it(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    alice, engine = await sign_in(resources), LoggingRuntime()
    await make_job(resources, alice.user, JobState.FAILED)
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).values(log_tail="one\ntwo\nthree", error_code="exited"))
        await session.execute(update(Workspace).values(status=WorkspaceStatus.ERROR))
    logs = "/api/container/hello/logs"
    async with working(resources.settings, resources, engine):
        assert (await client.get(logs, headers=alice.headers)).json()["lines"] == ["one", "two", "three"]
        assert (await client.get(f"{logs}?tail=2", headers=alice.headers)).json()["lines"] == ["two", "three"]
        assert (await client.get(f"{logs}?tail=0", headers=alice.headers)).json()["lines"] == []
        engine.source = numbered(2)
        assert (await client.get(logs, headers=alice.headers)).json()["lines"] == ["line 0", "line 1"]


async def test_an_admin_reads_in_the_job_what_bears_the_name(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    root = await sign_in(resources, await make_user(resources, "root", is_admin=True))
    runtime.before = failing(NameTaken("the container spawner-x belongs to somebody else"))
    job = await accept(resources)
    await drive(worker, job)
    seen = (await client.get(f"/api/admin/jobs/{job.id}", headers=root.headers)).json()
    assert seen["cause"] == "the container spawner-x belongs to somebody else"
    assert "spawner-x" not in str(seen["job"])
