"""A pass costs the same however many workspaces there are, where nothing is to be repaired."""

import re
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncEngine

from app.models import DesiredState, Network, Volume, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.runtime.base import Event
from app.workspaces import service
from tests.conftest import TestWorker
from tests.support.factories import make_user
from tests.support.fakes import FakeContainer, FakeRuntime
from tests.support.filled import GROWING, fill
from tests.support.statements import counted, executed, explain
from workers.loops.engine_events import News, look

MANY = 200


async def launch_one(resources: Resources, worker: TestWorker) -> None:
    resources.settings.network_pool = 0
    user = await make_user(resources)
    async with resources.unit_of_work() as session:
        await service.request(session, resources, user, "jupyter")
    await worker.drain()


async def add_copies(resources: Resources, runtime: FakeRuntime, count: int) -> None:
    """Run so many workspaces like the one that runs, in rows and at the engine, without a launch."""
    ((name, spec),) = runtime.containers.items()
    place = runtime.state[name].endpoint
    assert spec.volume is not None
    for number in range(1, count + 1):
        user = await make_user(resources, f"user{number}")
        copy = f"{resources.settings.instance}-user{number}-jupyter"
        endpoint = replace(place, container_id=f"copy-{number}")
        workspace = Workspace(
            user_id=user.id,
            template="jupyter",
            generation=1,
            status=WorkspaceStatus.RUNNING,
            desired_state=DesiredState.RUNNING,
            host=endpoint.host,
            port=endpoint.port,
            container_id=endpoint.container_id,
            reserved_memory=spec.memory_bytes,
            reserved_cpus=spec.cpus,
            started_at=utcnow(),
            active_at=utcnow(),
        )
        network = replace(spec.network, name=f"{resources.settings.instance}.{number}", subnet=f"10.1.{number}.0/28")
        volume = replace(spec.volume, name=f"{copy}-data")
        async with resources.unit_of_work() as session:
            session.add(workspace)
            await session.flush()
            session.add(Network(index=number, workspace_id=workspace.id, ready=True))
            session.add(Volume(name=volume.name, user_id=user.id, workspace_id=workspace.id, template="jupyter"))
        runtime.containers[copy] = replace(spec, name=copy, workspace_id=workspace.id, network=network, volume=volume)
        runtime.state[copy] = FakeContainer(endpoint)
        runtime.networks[network.name] = (spec.instance, network)
        runtime.volumes[volume.name] = (spec.instance, workspace.id)
        runtime.volume_installations[volume.name] = spec.installation


async def statements_of_a_pass(resources: Resources, worker: TestWorker) -> list[str]:
    """Of the second pass: the first one reads counters that were never read."""
    await worker.reconcile()
    object.__setattr__(resources.settings, "usage_seconds", 0)
    async with counted(resources.engine, resources.reader) as statements:
        await worker.reconcile()
    return statements


async def test_a_pass_sends_the_same_statements_for_one_workspace_and_for_many(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    await launch_one(resources, worker)
    for_one = await statements_of_a_pass(resources, worker)
    await add_copies(resources, runtime, MANY)
    for_many = await statements_of_a_pass(resources, worker)
    # Word by word: a longer list of arguments would be another statement.
    assert for_many == for_one


async def test_a_pass_and_its_events_read_no_table_that_grows_from_end_to_end(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, owner: AsyncEngine
) -> None:
    await launch_one(resources, worker)
    await add_copies(resources, runtime, 20)
    await fill(owner, users=5000, jobs=10)
    resources.settings.usage_seconds = 0
    (spec, *_) = runtime.containers.values()
    news = News()
    news.add(Event(spec.workspace_id, "start", utcnow()))
    with executed(resources.engine) as statements:
        await worker.reconcile()
        await look(worker.context, news)
    assert len(statements) > 20
    for statement, arguments in statements:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            plan = await explain(resources.engine, statement, arguments)
            whole = re.findall(rf"Seq Scan on ({'|'.join(GROWING)})\b", plan)
            assert whole == [], f"{statement}\n{plan}"
