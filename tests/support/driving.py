"""Jobs that a test accepts, drives, and reads back."""

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy import select

from app.models import (
    Job,
    JobEvent,
    JobState,
    User,
    Workspace,
)
from app.resources import Resources
from app.runtime.base import (
    Report,
)
from app.runtime.spec import WorkspaceSpec
from app.workspaces import admission, service
from tests.conftest import TestWorker
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime
from tests.support.waiting import PATIENCE
from workers.jobs.drive import drive_workspace


async def admit_waiting(resources: Resources) -> int:
    """Admit waiting launches that have capacity; returns their number."""
    async with resources.reads() as session:
        while (admitted := await admission.admit(session, resources)) is None:
            pass
    await resources.outbox.flush(session)
    return admitted


async def accept(resources: Resources, user: User | None = None) -> Job:
    """A launch that is accepted and admitted."""
    user = user or await make_user(resources)
    async with resources.unit_of_work() as session:
        launched = await service.request(session, resources, user, "hello")
    assert launched.job is not None
    await admit_waiting(resources)
    return launched.job


async def drive(worker: TestWorker, job: Job) -> None:
    """Admit what waits, then do the job."""
    await admit_waiting(worker.context.resources)
    await drive_workspace({"worker": worker.context, "job_id": "a message"}, str(job.id))


async def read(resources: Resources, job: Job) -> tuple[Job, Workspace, list[JobEvent]]:
    async with resources.unit_of_work() as session:
        row = await session.get_one(Job, job.id)
        workspace = await session.get_one(Workspace, job.workspace_id)
        events = await session.scalars(select(JobEvent).where(JobEvent.job_id == job.id).order_by(JobEvent.id))
        return row, workspace, list(events)


def failing(*faults: Exception) -> Callable[[WorkspaceSpec, Report], Awaitable[None]]:
    """Raise each fault once, then pass."""
    left = list(faults)

    async def before(spec: WorkspaceSpec, report: Report) -> None:
        if left:
            raise left.pop(0)

    return before


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, ten seconds at most."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.02)


async def has_state(resources: Resources, job: Job, state: JobState) -> bool:
    return (await read(resources, job))[0].state is state


async def run_one(resources: Resources, worker: TestWorker, *, restarts: str = "never") -> Workspace:
    """A running workspace whose template restarts as said."""
    templates = [template.model_copy(update={"restart": restarts}) for template in resources.catalog.templates]
    object.__setattr__(resources.catalog, "templates", tuple(templates))
    user = await make_user(resources)
    async with resources.unit_of_work() as session:
        await service.request(session, resources, user, "hello")
    await worker.drain()
    return await row_of(resources, user)


async def row_of(resources: Resources, user: User | Workspace) -> Workspace:
    user_id = user.id if isinstance(user, User) else user.user_id
    async with resources.unit_of_work() as session:
        return (await session.scalars(select(Workspace).where(Workspace.user_id == user_id))).one()


def only(runtime: FakeRuntime) -> str:
    (found,) = runtime.containers
    return found
