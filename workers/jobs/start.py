"""Starts a container: pulls its image, and finds a network without conflict."""

from collections.abc import Awaitable, Callable

import structlog

from app.catalog.images import BUILDING, image_states
from app.catalog.templates import Template
from app.runtime.base import Endpoint, ImageMissing, ImagePullFailed, Report, SubnetTaken
from app.runtime.spec import WorkspaceSpec
from app.workspaces import networks
from app.workspaces.networks import Holder, NoSubnet
from workers.context import WorkerContext

log = structlog.get_logger(__name__)

SUBNET_TRIES = 12


class ImageBeingBuilt(ImagePullFailed):
    """The image is being built on this machine."""

    code = "image_missing"


async def start_container(
    context: WorkerContext,
    template: Template,
    spec_on: Callable[[int], WorkspaceSpec],
    report: Report,
    *,
    index: int,
    holder: Holder,
    pulled: Callable[[], Awaitable[None]] | None = None,
) -> Endpoint:
    """Ensure the container of `spec_on(network index)`; pulls a missing image.

    Skips subnets in use on the host in growing strides: another user of the range probably took neighbours too. Raises
    `NoSubnet` when the attempts or the range are used up.
    """
    resources, fetched = context.resources, False
    for attempt in range(SUBNET_TRIES):
        spec = spec_on(index)
        try:
            try:
                return await context.runtime.ensure_running(spec, report)
            except ImageMissing:
                if fetched or await _being_built(context, template):
                    raise
            await context.runtime.pull(template.image, report)
            fetched = True
            if pulled is not None:
                await pulled()
            return await context.runtime.ensure_running(spec, report)
        except SubnetTaken as fault:
            log.warning("subnet_taken", subnet=spec.network.subnet, error=str(fault), attempt=attempt + 1)
        async with resources.unit_of_work() as session:
            after = index + (1 << attempt) - 1
            index = await networks.replace(session, resources, index, holder, after=after)
    raise NoSubnet


async def _being_built(context: WorkerContext, template: Template) -> bool:
    """Return whether the image is being built here: the launch is then retried later."""
    states = await image_states(context.resources.redis, context.resources.settings.instance, [template.image])
    if states.get(template.image) == BUILDING:
        raise ImageBeingBuilt
    return False
