"""Compares containers with rows at engine events, and all of them at each listing.

One worker follows the events. They arrive at once but may be lost; a listing finds missed ones. Both only select what
to compare: `app.workspaces.observe` decides and writes, for rows without a live job.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

import structlog
from sqlalchemy import or_, select
from sqlalchemy.exc import SQLAlchemyError

from app.core.logging import cause
from app.core.redis_names import redis_key
from app.core.supervise import background_loop
from app.models import HAS_LIVE_JOB, LIVE_JOB, Job, User, Workspace, WorkspaceStatus
from app.runtime.base import Event, Inventory, RunState, RuntimeFault, Status
from app.workspaces import exits, observe
from app.workspaces.container_spec import container_name, is_seat_name
from app.workspaces.observe import AnyRow
from app.workspaces.ownership import bears
from app.workspaces.states import STARTING, Verdict
from workers.context import WorkerContext
from workers.loops.removal_limit import is_few, within_limit
from workers.loops.warm_seats import reconcile_seat
from workers.turns import lead

log = structlog.get_logger(__name__)

NEWS = frozenset({"die", "pause", "unpause", "destroy", "start"})
# Events that a launch must not lose: its container may exit between the probe and the outcome's write.
LOSSES = frozenset({"die", "pause", "destroy"})
# Maximum wait for the launch's end; a pull may take longer, and the next listing finds the loss.
TIMEOUT_SECONDS = 60
LOOK_SECONDS = 0.5
PAUSE_SECONDS = 1
AT_ONCE = 8
ALIVE = (RunState.RUNNING, RunState.PAUSED)
RESTING = (WorkspaceStatus.NOT_CREATED, WorkspaceStatus.STOPPED)


@dataclass(slots=True)
class News:
    """Unprocessed events: each workspace's newest action with its arrival time, and kills."""

    actions: dict[UUID, tuple[str, float]] = field(default_factory=dict)
    kills: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, event: Event) -> None:
        """Add an event."""
        if event.action == "oom":
            self.kills.put_nowait(event)
        elif event.action in NEWS:
            self.actions[event.workspace_id] = event.action, time.monotonic()
            self.arrived.set()

    def take(self) -> dict[UUID, tuple[str, float]]:
        """Return the newest actions and clear them."""
        taken, self.actions = self.actions, {}
        self.arrived.clear()
        return taken

    def put_back(self, taken: dict[UUID, tuple[str, float]]) -> None:
        """Restore events younger than `TIMEOUT_SECONDS`, unless the workspace has a newer one."""
        oldest = time.monotonic() - TIMEOUT_SECONDS
        self.actions = {key: value for key, value in taken.items() if value[1] > oldest} | self.actions
        if self.actions:
            self.arrived.set()


async def watch(context: WorkerContext) -> None:
    """Follow the engine's events in one worker of the installation, until cancelled."""
    resources = context.resources
    key = redis_key(resources.settings.instance, "engine_events")
    await lead(resources.redis, key, partial(follow, context))


async def follow(context: WorkerContext) -> None:
    """Follow the engine's events until cancelled; after each break resubscribe and compare everything once."""
    news, instance = News(), context.resources.settings.instance
    async with (
        background_loop("engine_event_looks", partial(_look_forever, context, news)),
        background_loop("memory_kills", partial(_count_forever, context, news)),
    ):
        while True:
            try:
                events = context.runtime.events(instance)
                await compare(context, await context.runtime.list_owned(instance))
                async for event in events:
                    news.add(event)
            except (RuntimeFault, SQLAlchemyError, OSError) as error:
                log.warning("events_interrupted", **cause(error))
            await asyncio.sleep(PAUSE_SECONDS)


async def _look_forever(context: WorkerContext, news: News) -> None:
    while True:
        await news.arrived.wait()
        await asyncio.sleep(LOOK_SECONDS)
        await look(context, news)


async def look(context: WorkerContext, news: News) -> None:
    """Compare workspaces with events and without a live job, whose worker would see them itself.

    Keeps a loss during a launch until the launch has ended.
    """
    taken = news.take()
    try:
        rows = await _read(context, taken)
    except (SQLAlchemyError, OSError) as error:
        log.warning("events_not_compared", workspaces=len(taken), **cause(error))
        news.put_back(taken)
        return
    launching = {row.engine_id for row in rows if row.kind in STARTING} & taken.keys()
    news.put_back({key: taken[key] for key in launching if taken[key][0] in LOSSES})
    try:
        await _reconcile(context, rows)
        for seat_id in taken.keys() - {row.engine_id for row in rows}:
            await reconcile_seat(context, seat_id)
    except (RuntimeFault, SQLAlchemyError, OSError) as error:
        log.warning("events_not_compared", workspaces=len(taken), **cause(error))


async def _count_forever(context: WorkerContext, news: News) -> None:
    while True:
        event = await news.kills.get()
        try:
            await count_memory_kill(context, event)
        except (SQLAlchemyError, OSError) as error:
            log.warning("memory_kill_not_counted", workspace_id=str(event.workspace_id), **cause(error))


async def count_memory_kill(context: WorkerContext, event: Event) -> None:
    """Count a memory kill: by the container's counter, or by one if that is not visible."""
    resources = context.resources
    query = select(Workspace.id, Workspace.template, User.slug).join(User).where(bears([event.workspace_id]))
    async with resources.reads() as session:
        row = (await session.execute(query)).one_or_none()
    if row is None:
        return
    try:
        count = await context.runtime.memory_kills(container_name(resources.settings, row.slug, row.template))
    except RuntimeFault:
        count = None
    async with resources.unit_of_work() as session:
        if await exits.record_memory_kill(session, row.id, event.at, count or None):
            log.warning("memory_killed", workspace_id=str(row.id), count=count)


async def reconcile_workspace(context: WorkerContext, workspace_id: UUID) -> bool:
    """Compare the container of a workspace or warm seat with its row. Returns False while a job is live.

    The id is the engine's label, or the workspace's own.
    """
    rows = await _read(context, [workspace_id])
    if not rows:
        await reconcile_seat(context, workspace_id)
    return all([row.kind is None and await _reconcile_row(context, row) for row in rows])


async def _read(context: WorkerContext, ids: Iterable[UUID]) -> Sequence[AnyRow]:
    """Read the rows of workspaces with these engine ids, with the kind of the live job."""
    columns = (Workspace.id, Workspace.engine_id, Workspace.template, Workspace.generation, User.slug, Job.kind)
    owned = select(*columns, *observe.JUDGED).select_from(Workspace).join(User, User.id == Workspace.user_id)
    query = owned.outerjoin(Job, LIVE_JOB).where(bears(ids))
    async with context.resources.reads() as session:
        return (await session.execute(query)).all()


async def _reconcile(context: WorkerContext, rows: Iterable[AnyRow]) -> None:
    """Compare rows without live job, some concurrently. One failure does not stop the others; raises the first one at
    the end.
    """
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(row: AnyRow) -> None:
        async with turn:
            await _reconcile_row(context, row)

    ended = await asyncio.gather(*(one(row) for row in rows if row.kind is None), return_exceptions=True)
    for error in ended:
        if error is not None:
            raise error


async def _reconcile_row(context: WorkerContext, row: AnyRow) -> bool:
    """Compare a row with its container; on a difference, compare again under the row's lock."""
    resources = context.resources
    status = await context.runtime.status(container_name(resources.settings, row.slug, row.template))
    if observe.judge(row, status) is Verdict.AS_IT_IS:
        return True
    async with resources.unit_of_work() as session:
        return await observe.apply_observation(session, resources, row.id, row.generation, status)


async def compare(context: WorkerContext, inventory: Inventory) -> int:
    """Compare every workspace whose row differs from the listing; returns their number.

    If more than a few containers run that their rows call stopped, the rows are from a backup: a person must confirm.
    """
    inventory = _without_seats(context, inventory)
    strange = await _strange(context, inventory)
    held = {item.workspace_id: item.container for item in _unasked(inventory, strange)}
    if not is_few(len(held), len(inventory.containers)):
        # Jobs may have ended since the listing.
        held = {key: name for key, name in held.items() if (await context.runtime.status(name)).state in ALIVE}
    if await within_limit(context, "workspace", held.values(), len(inventory.containers)):
        held.clear()
    if chosen := [row.id for row in strange if row.id not in held]:
        await _reconcile(context, await _read(context, chosen))
    return len(chosen)


@dataclass(frozen=True, slots=True)
class Unasked:
    """A running container whose row, without a live job, is at rest."""

    workspace_id: UUID
    container: str
    state: RunState


async def unasked(context: WorkerContext, inventory: Inventory) -> list[Unasked]:
    """Return the containers that no row wants to run."""
    inventory = _without_seats(context, inventory)
    return _unasked(inventory, await _strange(context, inventory))


def _without_seats(context: WorkerContext, inventory: Inventory) -> Inventory:
    """Omit containers with a warm seat's name: no workspace has them yet."""
    settings = context.resources.settings
    return replace(inventory, containers=[it for it in inventory.containers if not is_seat_name(settings, it.name)])


def _unasked(inventory: Inventory, strange: Sequence[AnyRow]) -> list[Unasked]:
    resting = {row.engine_id: row.id for row in strange if row.status in RESTING}
    alive = [item for item in inventory.containers if item.status.state in ALIVE and item.workspace_id in resting]
    return [Unasked(resting[item.workspace_id], item.name, item.status.state) for item in alive]


async def _strange(context: WorkerContext, inventory: Inventory) -> list[AnyRow]:
    """Return workspaces whose row differs from the listing, and that have no live job."""
    found = {owned.workspace_id: owned.status for owned in inventory.containers}
    absent = Status(RunState.ABSENT)
    listed = or_(Workspace.status.not_in(RESTING), bears(found))
    query = select(Workspace.id, Workspace.engine_id, *observe.JUDGED).where(listed, ~HAS_LIVE_JOB)
    async with context.resources.reads() as session:
        rows = (await session.execute(query)).all()
    return [row for row in rows if observe.judge(row, found.get(row.engine_id, absent)) is not Verdict.AS_IT_IS]
