"""Jobs that a test accepts, drives, and reads back."""

from sqlalchemy import select

from app.models import Job, JobEvent, User, Workspace
from app.resources import Resources
from app.workspaces import service
from tests.conftest import TestWorker
from tests.factories import make_user
from workers.jobs.drive import drive_workspace


async def accept(resources: Resources, user: User | None = None) -> Job:
    user = user or await make_user(resources)
    async with resources.unit_of_work() as session:
        launched = await service.request(session, resources, user, "hello")
        assert launched.job is not None
        return launched.job


async def drive(worker: TestWorker, job: Job) -> None:
    await drive_workspace({"worker": worker.context, "job_id": "a message"}, str(job.id))


async def read(resources: Resources, job: Job) -> tuple[Job, Workspace, list[JobEvent]]:
    async with resources.unit_of_work() as session:
        row = await session.get_one(Job, job.id)
        workspace = await session.get_one(Workspace, job.workspace_id)
        events = await session.scalars(select(JobEvent).where(JobEvent.job_id == job.id).order_by(JobEvent.id))
        return row, workspace, list(events)
