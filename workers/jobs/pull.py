"""Fetches the catalogue's images before anybody launches them.

Pulls need no agreement between workers: the engine fetches a layer that several pulls ask for once.
"""

from collections.abc import Callable, Sequence

from app.catalog.templates import Template
from app.runtime.base import Progress, RuntimeFault
from workers.context import WorkerContext


async def pull_images(context: WorkerContext, templates: Sequence[Template], echo: Callable[[str], None]) -> bool:
    """Fetch the templates' images one after the other and print the outcome of each. False where one is missing then.

    An image that is built on the server comes from no registry: it is only looked for.
    """
    complete = True
    for template in templates:
        try:
            if template.build is None:
                await context.runtime.pull(template.image, _ignore)
            present = await context.runtime.image_digest(template.image) is not None
            outcome = "is there" if present else "is missing; it is built on the server"
        except RuntimeFault as fault:
            present, outcome = False, fault.code
        complete = complete and present
        echo(f"{template.key}: {template.image} {outcome}")
    return complete


async def _ignore(update: Progress) -> None:
    """Report no progress."""
