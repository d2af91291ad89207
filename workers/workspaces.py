"""Drives workspaces: claim a job, act on the engine with no session open, write what came of it."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.catalog.images import BUILDING, image_states
from app.catalog.service import Template
from app.gateway.names import route_of
from app.models import JobStep, utcnow
from app.runtime.base import (
    ContainerExited,
    Endpoint,
    ImageMissing,
    Report,
    RunState,
    RuntimeFault,
    Status,
    SubnetTaken,
    WorkspaceSpec,
)
from app.workspaces import progress
from app.workspaces.progress import Claim, LeaseLost, NoSubnet
from app.workspaces.spec import build_spec, container_name, probe_path
from workers.context import WorkerContext, context_of
from workers.probe import ProbeTimeout, wait_ready
from workers.timeline import timeline

log = structlog.get_logger(__name__)

SUBNET_TRIES = 12
LONGEST_BACKOFF = 30


async def drive_workspace(ctx: dict[str, Any], id: str) -> None:
    """Bring one workspace where its job wants it. Safe to run twice at once: the claim lets one through."""
    context = context_of(ctx)
    structlog.contextvars.bind_contextvars(job_id=id)
    async with context.resources.unit_of_work() as session:
        held = await progress.claim(session, context.resources, UUID(id))
    if held is None:
        return
    try:
        await context.resources.outbox.take(ctx["job_id"])
        await _with_lease(context, held)
    except LeaseLost:
        log.info("lease_lost", attempt=held.attempt)
    except asyncio.CancelledError:
        await asyncio.shield(_hand_back(context, held))
        raise


async def _with_lease(context: WorkerContext, held: Claim) -> None:
    """Drive while the lease is renewed beside it; losing the lease ends the driving at its next await."""
    drive = asyncio.create_task(_drive(context, held))
    renewal = asyncio.create_task(_renew(context, held))
    try:
        await asyncio.wait({drive, renewal}, return_when=asyncio.FIRST_COMPLETED)
        if not drive.done():
            raise LeaseLost
        await drive
    finally:
        for task in (drive, renewal):
            task.cancel()
        await asyncio.gather(drive, renewal, return_exceptions=True)


async def _renew(context: WorkerContext, held: Claim) -> None:
    """Return when the lease is lost. A database that is away is asked again until the lease would have run out."""
    pause = context.resources.settings.lease_seconds / 3
    failures = 0
    while failures < 3:
        await asyncio.sleep(pause)
        try:
            async with context.resources.unit_of_work() as session:
                await progress.renew(session, context.resources, held)
            failures = 0
        except LeaseLost:
            return
        except (SQLAlchemyError, OSError) as error:
            failures += 1
            log.warning("lease_not_renewed", error=type(error).__name__)


async def _hand_back(context: WorkerContext, held: Claim) -> None:
    """This worker is told to stop: another one takes the job at once."""
    with contextlib.suppress(LeaseLost, SQLAlchemyError, OSError):
        async with context.resources.unit_of_work() as session:
            await progress.retry(session, held, delay=timedelta(0), detail="worker_stopping")


async def _drive(context: WorkerContext, held: Claim) -> None:
    """Run the workspace and write the outcome; every engine error becomes a retry or a failure with a code."""
    template = context.resources.catalog.get(held.workspace.template)
    if template is None:
        await _fail(context, held, "template_gone")
        return
    try:
        endpoint = await _run(context, held, template)
    except (ContainerExited, ProbeTimeout):
        await _give_up(context, held)
    except RuntimeFault as fault:
        if fault.transient or (isinstance(fault, ImageMissing) and await _being_built(context, template)):
            await _retry(context, held, fault.code)
        else:
            log.warning("launch_failed", code=fault.code, error=str(fault))
            await _fail(context, held, fault.code)
    except NoSubnet:
        await _fail(context, held, "no_subnet")
    else:
        async with context.resources.unit_of_work() as session:
            await progress.succeed(session, held, endpoint)


async def _run(context: WorkerContext, held: Claim, template: Template) -> Endpoint:
    """Container up, then probed; the timeline is written beside it."""
    async with timeline(context.resources, held) as report:
        spec, endpoint = await _ensure_running(context, held, template, report)
        if report.touched:
            report.note(JobStep.PROBING)
        path = probe_path(context.resources.settings, template, route_of(held.slug, template.key))
        seconds = template.probe.deadline_seconds
        await wait_ready(context.http, context.runtime, spec.name, endpoint, path, seconds=seconds)
    return endpoint


async def _ensure_running(
    context: WorkerContext, held: Claim, template: Template, report: Report
) -> tuple[WorkspaceSpec, Endpoint]:
    """Ask the runtime for the container.

    A subnet that something else on the host uses is passed over, in growing strides: whoever else takes networks from
    the same range has taken neighbours of it too. Raises `NoSubnet` when the tries are used up, or the range.
    """
    resources = context.resources
    index = held.subnet
    for attempt in range(SUBNET_TRIES):
        spec = build_spec(resources.settings, template, held.workspace, held.slug, index)
        try:
            return spec, await context.runtime.ensure_running(spec, report)
        except SubnetTaken:
            log.warning("subnet_taken", subnet=spec.subnet)
        async with resources.unit_of_work() as session:
            after = index + (1 << attempt) - 1
            index = await progress.allocate_subnet(session, resources, held.workspace.id, after=after)
    raise NoSubnet


async def _being_built(context: WorkerContext, template: Template) -> bool:
    states = await image_states(context.resources.redis, [template.image])
    return states.get(template.image) == BUILDING


async def _retry(context: WorkerContext, held: Claim, code: str) -> None:
    """Try again after 1, 2, 4 … 30 seconds; where that would pass the deadline, fail now with the true cause."""
    delay = timedelta(seconds=min(2 ** (held.attempt - 1), LONGEST_BACKOFF))
    if utcnow() + delay >= held.deadline:
        await _fail(context, held, code)
        return
    async with context.resources.unit_of_work() as session:
        await progress.retry(session, held, delay=delay, detail=code)


async def _fail(context: WorkerContext, held: Claim, code: str, *, detail: str | None = None) -> None:
    async with context.resources.unit_of_work() as session:
        await progress.fail(session, held, code, detail=detail)


async def _give_up(context: WorkerContext, held: Claim) -> None:
    """The container ended, or never answered: note why, take it away, fail the job.

    What cannot be removed now is replaced by the next launch.
    """
    name = container_name(context.resources.settings, held.slug, held.workspace.template)
    async with context.resources.unit_of_work() as session:
        await progress.renew(session, context.resources, held)
    try:
        status = await context.runtime.status(name)
    except RuntimeFault:
        status = Status(RunState.RUNNING)
    with contextlib.suppress(RuntimeFault):
        await context.runtime.ensure_absent(name)
    if status.state is RunState.RUNNING:
        await _fail(context, held, "probe_timeout")
    else:
        code = "out_of_memory" if status.out_of_memory else "exited"
        await _fail(context, held, code, detail=f"exit code {status.exit_code}")
