"""Maintains warm seats: starts missing ones, replaces failed ones, removes surplus ones."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.catalog.templates import Template
from app.core.logging import cause
from app.core.redis_names import redis_key
from app.core.supervise import background_loop
from app.models import Seat, SeatState
from app.runtime.base import Endpoint, Inventory, RunState, RuntimeFault, ignore_progress
from app.runtime.spec import WorkspaceSpec
from app.workspaces import networks, seats
from app.workspaces.container_spec import build_seat_spec, probe_path, seat_name, seat_volume
from app.workspaces.networks import NoSubnet
from app.workspaces.ownership import installation_id
from app.workspaces.seat_plan import plan
from workers.context import WorkerContext
from workers.jobs.probe import ProbeFailed, wait_ready
from workers.jobs.start import start_container
from workers.loops.admit import admit
from workers.turns import take_turn

log = structlog.get_logger(__name__)

PASS_SECONDS = 1


async def keep_warm(context: WorkerContext) -> None:
    """Run passes until cancelled: each second the first worker to ask plans, and all start and remove seats."""
    key = redis_key(context.resources.settings.instance, "seats")
    while True:
        await asyncio.sleep(PASS_SECONDS)
        try:
            if await take_turn(context.resources.redis, key, PASS_SECONDS):
                async with context.resources.unit_of_work() as session:
                    await plan(session, context.resources)
            await work(context)
        except (RuntimeFault, SQLAlchemyError, RedisError, OSError) as error:
            log.warning("seats_not_reconciled", **cause(error))


async def work(context: WorkerContext) -> None:
    """Start and remove seats until none is due. One read if none is."""
    async with context.resources.reads() as session:
        if not await seats.is_any_due(session):
            return
    await asyncio.gather(*(_work(context) for _ in range(context.resources.settings.engine_starts)))


async def _work(context: WorkerContext) -> None:
    resources = context.resources
    seconds = resources.settings.lease_seconds
    while True:
        async with resources.unit_of_work() as session:
            seat = await seats.take_up(session, seconds)
        if seat is None:
            return
        async with _leased(context, seat):
            if seat.state == SeatState.STARTING:
                await _start(context, seat)
            else:
                await _end(context, seat)


@contextlib.asynccontextmanager
async def _leased(context: WorkerContext, seat: Seat) -> AsyncIterator[None]:
    """Hold the seat's lease during the block; releases it in any case."""
    resources = context.resources
    seconds = resources.settings.lease_seconds

    async def hold(until: float | None) -> None:
        async with resources.unit_of_work() as session:
            await seats.renew(session, seat.id, until)

    async def renew() -> None:
        while True:
            await asyncio.sleep(seconds / 3)
            with contextlib.suppress(SQLAlchemyError, OSError):
                await hold(seconds)

    try:
        async with background_loop("seat_lease", renew, essential=False):
            yield
    finally:
        with contextlib.suppress(SQLAlchemyError, OSError):
            await asyncio.shield(hold(None))


async def _start(context: WorkerContext, seat: Seat) -> None:
    """Start a seat and probe it. A seat that has failed, or fails now, is removed with its files."""
    resources = context.resources
    template = resources.catalog.get(seat.template)
    code = "template_gone"
    try:
        if template is not None:
            if seat.failures:
                await _remove(context, seat.id)
            endpoint = await _run(context, seat, template)
            async with resources.unit_of_work() as session:
                await seats.is_ready(session, seat.id, endpoint)
            log.info("seat_ready", seat_id=str(seat.id), template=seat.template)
            return
    except NoSubnet:
        code = "no_subnet"
    except (RuntimeFault, ProbeFailed) as failed:
        code = failed.code
        log.warning("seat_failed", seat_id=str(seat.id), template=seat.template, code=code, error=str(failed))
    with contextlib.suppress(RuntimeFault):
        await _remove(context, seat.id)
    async with resources.unit_of_work() as session:
        await seats.has_failed(session, seat.id, code)


async def _run(context: WorkerContext, seat: Seat, template: Template) -> Endpoint:
    resources = context.resources
    async with resources.unit_of_work() as session:
        installation = await installation_id(session)
        index = await seats.network_of(session, seat.id)
        if index is None:
            index = await networks.allocate(session, resources, {"seat_id": seat.id})

    def spec_on(number: int) -> WorkspaceSpec:
        return build_seat_spec(resources.settings, template, seat.id, index=number, installation=installation)

    endpoint = await start_container(
        context, template, spec_on, ignore_progress, index=index, holder={"seat_id": seat.id}
    )
    name, path = seat_name(resources.settings, seat.id), probe_path(resources.settings, template, "")
    seconds = template.probe.deadline_seconds
    await wait_ready(context.ask, context.runtime, name, endpoint, path, port=template.port, seconds=seconds)
    return endpoint


async def _end(context: WorkerContext, seat: Seat) -> None:
    """Remove a seat and its reservation."""
    resources = context.resources
    try:
        await _remove(context, seat.id)
    except RuntimeFault as fault:
        log.warning("seat_stays", seat_id=str(seat.id), code=fault.code, error=str(fault))
        async with resources.unit_of_work() as session:
            await seats.postpone(session, seat.id)
        return
    async with resources.unit_of_work() as session:
        await seats.forget(session, seat.id)
    await admit(context)


async def _remove(context: WorkerContext, seat_id: UUID) -> None:
    """Remove the container with the seat's name, and its files unless a workspace has them."""
    resources = context.resources
    await context.runtime.ensure_absent(seat_name(resources.settings, seat_id), seat_id)
    volume = seat_volume(resources.settings, seat_id)
    async with resources.reads() as session:
        kept = await seats.has_volume_row(session, volume)
    if not kept:
        await context.runtime.remove_volume(volume)


async def reconcile_seat(context: WorkerContext, seat_id: UUID) -> bool:
    """Compare a ready seat's container with its row; returns True if it has failed."""
    resources = context.resources
    async with resources.reads() as session:
        seat = await session.get(Seat, seat_id)
    if seat is None or seat.state != SeatState.READY:
        return False
    status = await context.runtime.status(seat_name(resources.settings, seat_id))
    there = status.endpoint
    if status.state is RunState.RUNNING and there is not None and (there.host, there.port) == (seat.host, seat.port):
        return False
    log.warning("seat_lost", seat_id=str(seat_id), template=seat.template, seen=status.state)
    async with resources.unit_of_work() as session:
        await seats.has_failed(session, seat_id, "exited")
    # If this fails, the next start removes it.
    with contextlib.suppress(RuntimeFault):
        await _remove(context, seat_id)
    return True


async def reconcile_seats(context: WorkerContext, inventory: Inventory) -> int:
    """Find seats whose end was not reported by an event; returns their number."""
    running = {item.workspace_id for item in inventory.containers if item.status.state is RunState.RUNNING}
    async with context.resources.reads() as session:
        ready = await seats.list_ready(session)
    return sum([await reconcile_seat(context, seat_id) for seat_id in ready if seat_id not in running])
