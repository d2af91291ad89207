"""Why a launch failed: what the engine said, and what the container wrote last."""

from datetime import timedelta

import httpx
import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from app.models import Job, JobState, JobStep, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.runtime.base import EngineUnavailable, NameTaken
from app.workspaces.jobs import outcomes
from tests.api.streaming import make_job
from tests.conftest import TestWorker
from tests.support.driving import accept, drive, failing, read
from tests.support.factories import make_user, sign_in
from tests.support.fakes import FakeRuntime
from tests.support.logs import LoggingRuntime, numbered, working


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


async def test_a_fault_that_is_tried_again_is_logged_with_code_text_and_attempt(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    runtime.before = failing(EngineUnavailable("the connection to the engine broke"))
    job = await accept(resources)
    with capture_logs() as logged:
        await drive(worker, job)
    retried = [line for line in logged if line["event"] == "job_retried"]
    assert [(line["code"], line["error"], line["attempt"]) for line in retried] == [
        ("engine_unavailable", "the connection to the engine broke", 1)
    ]
    assert (await read(resources, job))[0].state is JobState.QUEUED


@pytest.mark.parametrize("mistake", [KeyError("Id"), TypeError("not a number")])
async def test_a_mistake_of_ours_fails_the_job_at_once_with_its_traceback(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, mistake: Exception
) -> None:
    runtime.before = failing(mistake)
    job = await accept(resources)
    with capture_logs() as logged:
        await drive(worker, job)
    row, workspace, events = await read(resources, job)
    assert (row.state, row.error_code, row.attempts) == (JobState.FAILED, "internal_error", 1)
    assert row.cause == f"{type(mistake).__name__}: {mistake}"
    assert workspace.status == WorkspaceStatus.ERROR
    assert JobStep.RETRYING not in {event.step for event in events}
    assert [line["exc_info"] for line in logged if line["event"] == "job_crashed"] == [True]


async def test_a_job_that_outlasts_its_deadline_says_so_to_admins_and_in_the_log(
    resources: Resources, worker: TestWorker
) -> None:
    job = await accept(resources)
    deadline = utcnow() - timedelta(seconds=1)
    with capture_logs() as logged:
        async with resources.unit_of_work() as session:
            await session.execute(update(Job).values(deadline=deadline))
            assert await outcomes.fail_overdue(session) == 1
    row, _, _ = await read(resources, job)
    assert row.cause == f"not done by {deadline.isoformat(timespec='seconds')}: deadline"
    assert [line["error"] for line in logged if line["event"] == "job_failed"] == [row.cause]


async def test_a_job_without_words_of_the_engine_has_a_cause_too(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    runtime.port, runtime.exit_code = 1, 3
    job = await accept(resources)
    with capture_logs() as logged:
        await drive(worker, job)
    row, _, _ = await read(resources, job)
    assert (row.error_code, row.cause) == ("exited", "exit code 3")
    assert [line["error"] for line in logged if line["event"] == "job_failed"] == ["exit code 3"]
