"""A worker process: queues that do not wait for each other, news, and how it ends."""

import asyncio
import signal
from contextlib import AsyncExitStack, nullcontext

import pytest
from sqlalchemy import func, select

from app.core.outbox import JobName, enqueue, queue_key
from app.core.settings.model import Settings
from app.core.supervise import background_task
from app.models import Job, JobKind, JobState, LinkRequestState, User
from app.resources import Resources
from app.runtime.base import Report
from app.runtime.spec import WorkspaceSpec
from app.workspaces import service
from tests.conftest import TestWorker
from tests.support.driving import accept, has_state, read, until
from tests.support.emails import Inbox
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime
from tests.support.link_requests import make_request, request_of
from tests.support.queues import messages
from tests.support.waiting import PATIENCE
from workers.loops.admit import admit
from workers.worker import QueueWorker, Worker

WORKERS = 2


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers look into their queues when they start, and then only when they are told to."""
    monkeypatch.setattr("workers.options.POLL_SECONDS", 3600)


async def ask(resources: Resources, user: User, kind: JobKind) -> Job:
    async with resources.unit_of_work() as session:
        accepted = await service.request(session, resources, user, "hello", kind)
    assert accepted.job is not None
    return accepted.job


async def hang(spec: WorkspaceSpec, report: Report) -> None:
    await asyncio.Event().wait()


async def count_driven(resources: Resources) -> int:
    async with resources.reads() as session:
        query = select(func.count()).where(Job.kind == JobKind.LAUNCH, Job.state == JobState.RUNNING)
        return await session.scalar(query) or 0


@pytest.mark.usefixtures("never")
async def test_launches_that_never_answer_delay_no_mail_no_stop_and_no_deletion(
    settings: Settings, resources: Resources, worker: TestWorker, runtime: FakeRuntime, inbox: Inbox
) -> None:
    """As many launches as all workers have places for, none of which ever becomes ready."""
    resources.settings.lease_seconds = 600
    owners = [await make_user(resources, name) for name in ("stopping", "deleting")]
    for owner in owners:
        await accept(resources, owner)
    await worker.drain()
    launches = settings.launches_at_once
    assert launches == WORKERS * settings.worker_jobs
    runtime.before = hang
    async with AsyncExitStack() as stack:
        for _ in range(WORKERS):
            await stack.enter_async_context(worker.running(reconciling=False))
        for number in range(launches):
            await accept(resources, await make_user(resources, f"user{number}"))

        async def full() -> bool:
            return await count_driven(resources) == launches

        await until(full)
        jobs = [await ask(resources, *one) for one in zip(owners, (JobKind.STOP, JobKind.DELETE), strict=True)]
        mail = await make_request(resources)
        async with resources.unit_of_work() as session:
            enqueue(session, JobName.SEND_LINK, mail)

        async def done() -> bool:
            return all([await has_state(resources, job, JobState.SUCCEEDED) for job in jobs])

        async def sent() -> bool:
            return (await request_of(resources, mail)).state is LinkRequestState.SENT

        await until(done)
        await until(sent)
        assert len(inbox.to("alice@example.org")) == 1
        assert await full()


async def test_a_worker_that_is_told_to_stop_hands_its_jobs_back_and_ends(
    settings: Settings, resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    """What is in hand has its time in each queue, and what the jobs use is closed after the last of them."""
    begun, drained = asyncio.Event(), []

    async def begin(spec: WorkspaceSpec, report: Report) -> None:
        begun.set()
        await hang(spec, report)

    runtime.before = begin
    job = await accept(resources)
    await admit(worker.context)
    process = Worker(settings.model_copy(update={"drain_seconds": 0}), nullcontext(worker.context))
    process.on_drained = lambda: drained.append(True)
    work = asyncio.create_task(process.main())
    async with background_task(work), asyncio.timeout(PATIENCE):
        await begun.wait()
        process.drain(signal.SIGTERM)
        await work
    assert drained == [True]
    row, _, events = await read(resources, job)
    assert (row.state, row.lease, events[-1].detail) == (JobState.QUEUED, None, "worker_stopping")
    assert await messages(resources, JobName.LAUNCH) == [f"launch_workspace:{job.id}:1"]


async def test_a_worker_whose_queue_fails_ends_as_a_whole(
    settings: Settings, worker: TestWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(self: QueueWorker) -> None:
        if self.queue_name == queue_key(settings.instance, JobName.END):
            raise ConnectionError("nobody answers")
        await asyncio.Event().wait()

    monkeypatch.setattr(QueueWorker, "main", main)
    with pytest.raises(ExceptionGroup, match="unhandled errors") as failed:
        await Worker(settings, nullcontext(worker.context)).main()
    assert [str(error) for error in failed.value.exceptions] == ["nobody answers"]
