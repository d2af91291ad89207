"""A look at the engine that comes late changes nothing."""

from app.models import Workspace, WorkspaceStatus
from app.resources import Resources
from app.workspaces import service
from tests.conftest import TestWorker
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime
from tests.support.stepped import Answer, SteppedWorker, settle
from workers.loops.engine_events import reconcile_workspace


async def test_what_was_seen_before_a_launch_does_not_count_after_it(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    user = await make_user(resources)

    async def launch() -> Workspace:
        async with resources.unit_of_work() as session:
            accepted = await service.request(session, resources, user, "hello")
        await worker.drain()
        return accepted.workspace

    workspace = await launch()
    (name,) = runtime.containers
    runtime.end(name)
    watcher = SteppedWorker(resources, runtime)
    watcher.begin(lambda context: reconcile_workspace(context, workspace.id))
    await settle([watcher])
    watcher.go_on(Answer.LATE)
    await settle([watcher])
    async with resources.unit_of_work() as session:
        await service.request(session, resources, user, "hello", asked=False)
    await worker.drain()
    watcher.go_on(Answer.DONE)
    await settle([watcher])
    assert watcher.task.result() is False
    async with resources.reads() as session:
        row = await session.get_one(Workspace, workspace.id)
    assert row.status is WorkspaceStatus.RUNNING
