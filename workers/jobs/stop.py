"""Pauses, stops and removes a workspace."""

from app.models import JobStep
from app.runtime.base import RunState
from app.workspaces.jobs import outcomes
from app.workspaces.jobs.leases import Claim
from workers.context import WorkerContext
from workers.jobs.checkpoints import Checkpoint, reached


async def pause(context: WorkerContext, held: Claim) -> None:
    """Pause the container. If it no longer runs, the engine's observer handles that."""
    await _report_step(context, held, JobStep.PAUSING)
    status = await context.runtime.ensure_paused(held.container, held.workspace.engine_id)
    await reached(Checkpoint.PAUSED, held)
    outcome = outcomes.paused if status.state is RunState.PAUSED else outcomes.unchanged
    async with context.resources.unit_of_work() as session:
        await outcome(session, held)


async def stop(context: WorkerContext, held: Claim) -> None:
    """Stop the container and keep it."""
    await _report_step(context, held, JobStep.STOPPING)
    await context.runtime.ensure_stopped(held.container, held.workspace.engine_id)
    await reached(Checkpoint.STOPPED, held)
    async with context.resources.unit_of_work() as session:
        await outcomes.stopped(session, held)


async def delete(context: WorkerContext, held: Claim) -> None:
    """Remove the container. The volume's row decides about the volume."""
    await _report_step(context, held, JobStep.DELETING)
    await context.runtime.ensure_absent(held.container, held.workspace.engine_id)
    await reached(Checkpoint.REMOVED, held)
    async with context.resources.unit_of_work() as session:
        await outcomes.removed(session, held)


async def _report_step(context: WorkerContext, held: Claim, step: JobStep) -> None:
    async with context.resources.unit_of_work() as session:
        await outcomes.step(session, held, step)
