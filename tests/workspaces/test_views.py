"""What owners are shown while workers write."""

import asyncio

from sqlalchemy import update

from app.models import Job, JobState, JobStep, Workspace, WorkspaceStatus
from app.resources import Resources
from app.workspaces.views import find_entries
from tests.support.browsers import make_workspace
from tests.support.factories import sign_in

ROUNDS = 150


async def test_a_workspace_on_its_way_is_never_shown_without_its_job(resources: Resources) -> None:
    user = (await sign_in(resources, "alice")).user
    job = await make_workspace(resources, user, WorkspaceStatus.PROBING, step=JobStep.PROBING)
    assert job is not None

    async def work() -> None:
        for number in range(ROUNDS):
            state, status = (JobState.RUNNING, WorkspaceStatus.PROBING)
            if number % 2 == 0:
                state, status = (JobState.SUCCEEDED, WorkspaceStatus.RUNNING)
            async with resources.unit_of_work() as session:
                await session.execute(update(Job).where(Job.id == job.id).values(state=state))
                await session.execute(update(Workspace).values(status=status))

    async with asyncio.TaskGroup() as group:
        working = group.create_task(work())
        while not working.done():
            entries = await find_entries(resources, user, resources.catalog.templates, "en")
            (entry,) = [entry for entry, _ in entries if entry.type == "hello"]
            assert (entry.job is not None) == (entry.status == WorkspaceStatus.PROBING)
