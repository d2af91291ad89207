"""Turns a warm seat's container into its workspace's: renames it and runs the template's `on_claim`."""

from uuid import UUID

import structlog

from app.catalog.placeholders import fill
from app.core.addresses import placeholders
from app.models import JobKind
from app.workspaces.container_spec import identity, seat_name
from app.workspaces.jobs.leases import Claim
from workers.context import WorkerContext
from workers.jobs.checkpoints import Checkpoint, reached

log = structlog.get_logger(__name__)

HOOK_SECONDS = 20


async def take_over(context: WorkerContext, held: Claim, seat: UUID) -> None:
    """Rename the seat's container to its workspace's name. Idempotent.

    If `on_claim` fails, removes the container: the job continues without a seat.
    """
    name = seat_name(context.resources.settings, seat)
    await context.runtime.ensure_named(name, seat, held.container)
    await reached(Checkpoint.NAMED, held)
    if held.kind is not JobKind.DELETE and not await _run_hook(context, held, seat):
        await context.runtime.ensure_absent(held.container, seat)


async def _run_hook(context: WorkerContext, held: Claim, seat: UUID) -> bool:
    """Run the template's `on_claim`, if any; False if it fails or times out."""
    settings = context.resources.settings
    template = context.resources.catalog.get(held.workspace.template)
    if template is None or not template.on_claim:
        return True
    values = placeholders(settings, held.slug, template.key, user=held.slug)
    command = [fill(word, values) for word in template.on_claim]
    environment = identity(settings, template, held.slug)
    code = await context.runtime.execute(held.container, seat, command, environment, seconds=HOOK_SECONDS)
    if code != 0:
        log.warning("on_claim_failed", seat_id=str(seat), template=template.key, exit_code=code)
    return code == 0
