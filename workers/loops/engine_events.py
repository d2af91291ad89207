"""Notices what happened to containers without anybody asking: the engine's events, and a look at everything.

Events come within a moment but may be lost; the look finds whatever was missed. Both only compare: what follows is
written by `app.workspaces.observe`, for a row that no job is changing.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import or_, select
from sqlalchemy.exc import SQLAlchemyError

from app.core.logging import cause
from app.models import HAS_LIVE_JOB, User, Workspace, WorkspaceStatus
from app.runtime.base import Event, Inventory, RunState, RuntimeFault, Status
from app.workspaces import exits, observe
from app.workspaces.container_spec import container_name
from app.workspaces.states import Verdict, decide_repair
from workers.context import WorkerContext
from workers.loops.removal_limit import is_few, within_limit

log = structlog.get_logger(__name__)

NEWS = frozenset({"die", "oom", "pause", "unpause", "destroy", "start"})
# How long an event waits for the workspace's live job, at most; a pull may take longer, and the next look finds it.
TIMEOUT_SECONDS = 60
LOOK_SECONDS = 0.5
PAUSE_SECONDS = 1
ALIVE = (RunState.RUNNING, RunState.PAUSED)
RESTING = (WorkspaceStatus.NOT_CREATED, WorkspaceStatus.STOPPED)


async def watch(context: WorkerContext) -> None:
    """Follow the engine's events until cancelled; after each break subscribe anew and look at everything once."""
    looks: set[asyncio.Task[None]] = set()
    try:
        while True:
            try:
                events = context.runtime.events(context.resources.settings.instance)
                await compare(context, await context.runtime.list_owned(context.resources.settings.instance))
                async for event in events:
                    if event.action in NEWS:
                        task = asyncio.create_task(_take(context, event))
                        looks.add(task)
                        task.add_done_callback(looks.discard)
            except (RuntimeFault, SQLAlchemyError, OSError) as error:
                log.warning("events_interrupted", **cause(error))
            await asyncio.sleep(PAUSE_SECONDS)
    finally:
        for task in looks:
            task.cancel()
        await asyncio.gather(*looks, return_exceptions=True)


async def _take(context: WorkerContext, event: Event) -> None:
    """Write down what is lost if it is not written now, then compare."""
    if event.action == "oom":
        with contextlib.suppress(SQLAlchemyError, OSError):
            await count_memory_kill(context, event)
    await _after_jobs(context, event.workspace_id)


async def count_memory_kill(context: WorkerContext, event: Event) -> None:
    """Count what the kernel killed in a workspace: by its own counter, or by one where that is out of sight."""
    resources = context.resources
    query = select(Workspace.template, User.slug).join(User).where(Workspace.id == event.workspace_id)
    async with resources.reads() as session:
        row = (await session.execute(query)).one_or_none()
    if row is None:
        return
    try:
        count = await context.runtime.memory_kills(container_name(resources.settings, row.slug, row.template))
    except RuntimeFault:
        count = None
    async with resources.unit_of_work() as session:
        if await exits.record_memory_kill(session, event.workspace_id, event.at, count or None):
            log.warning("memory_killed", workspace_id=str(event.workspace_id), count=count)


async def _after_jobs(context: WorkerContext, workspace_id: UUID) -> None:
    """Look at a workspace as soon as no job is changing it."""
    with contextlib.suppress(RuntimeFault, SQLAlchemyError, OSError):
        for _ in range(int(TIMEOUT_SECONDS / LOOK_SECONDS)):
            if await reconcile_workspace(context, workspace_id):
                return
            await asyncio.sleep(LOOK_SECONDS)


async def reconcile_workspace(context: WorkerContext, workspace_id: UUID) -> bool:
    """Ask the engine for one workspace's container and compare. False while a job is live."""
    resources = context.resources
    columns = (Workspace.template, Workspace.generation, User.slug, HAS_LIVE_JOB)
    query = select(*columns).join(User).where(Workspace.id == workspace_id)
    async with resources.reads() as session:
        row = (await session.execute(query)).one_or_none()
    if row is None:
        return True
    template, generation, slug, busy = row
    if busy:
        return False
    status = await context.runtime.status(container_name(resources.settings, slug, template))
    async with resources.unit_of_work() as session:
        return await observe.apply_observation(session, resources, workspace_id, generation, status)


async def compare(context: WorkerContext, inventory: Inventory) -> int:
    """Look at every workspace whose row does not fit what the engine listed; says how many those are.

    Where more than a few run that their rows call stopped, the rows are of a backup: a person is asked first.
    """
    strange = await _strange(context, inventory)
    held = {item.workspace_id: item.container for item in _unasked(inventory, strange)}
    if not is_few(len(held), len(inventory.containers)):
        # Jobs may have ended since the engine was asked.
        held = {key: name for key, name in held.items() if (await context.runtime.status(name)).state in ALIVE}
    if await within_limit(context, "workspace", held.values(), len(inventory.containers)):
        held.clear()
    for row in strange:
        if row.id not in held:
            await reconcile_workspace(context, row.id)
    return len(strange) - len(held)


@dataclass(frozen=True, slots=True)
class Unasked:
    """A container that is alive though its row, which no job is changing, is at rest."""

    workspace_id: UUID
    container: str
    state: RunState


async def unasked(context: WorkerContext, inventory: Inventory) -> list[Unasked]:
    """What runs without anybody having asked, by today's rows."""
    return _unasked(inventory, await _strange(context, inventory))


def _unasked(inventory: Inventory, strange: Sequence[Workspace]) -> list[Unasked]:
    resting = {row.id for row in strange if row.status in RESTING}
    alive = [item for item in inventory.containers if item.status.state in ALIVE]
    return [Unasked(item.workspace_id, item.name, item.status.state) for item in alive if item.workspace_id in resting]


async def _strange(context: WorkerContext, inventory: Inventory) -> list[Workspace]:
    """Workspaces whose row does not fit what was listed, and that no job is changing."""
    found = {owned.workspace_id: owned.status for owned in inventory.containers}
    resting = Workspace.status.in_(RESTING)
    query = select(Workspace).where(or_(~resting, Workspace.id.in_(list(found))), ~HAS_LIVE_JOB)
    async with context.resources.reads() as session:
        workspaces = list(await session.scalars(query))
    return [row for row in workspaces if not _fits(row, found.get(row.id, Status(RunState.ABSENT)))]


def _fits(workspace: Workspace, status: Status) -> bool:
    match decide_repair(workspace.status, workspace.desired_state, status.state):
        case Verdict.AS_IT_IS:
            return True
        case Verdict.RUNS:
            there = status.endpoint
            same = there is not None and (there.host, there.port) == (workspace.host, workspace.port)
            return same and workspace.status == WorkspaceStatus.RUNNING and workspace.reserved_memory is not None
        case Verdict.IS_PAUSED:
            return workspace.status == WorkspaceStatus.PAUSED
        case _:
            return False
