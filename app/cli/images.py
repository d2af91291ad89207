"""`spawner images`: the images of the catalogue."""

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from app.catalog.templates import Template
from app.cli.running import run
from app.core.settings.reading import load_settings
from app.runtime.base import RuntimeFault, ignore_progress
from workers.context import WorkerContext, open_context

app = typer.Typer(no_args_is_help=True, help="Images of the catalogue.")


@app.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Keys of templates; default: all.")] = None,
) -> None:
    """Pull images before users launch them. The engine pulls no layer twice, also with concurrent pulls."""

    async def work() -> bool:
        async with open_context(load_settings()) as context:
            templates = context.resources.catalog.templates
            unknown = set(names or ()) - {template.key for template in templates}
            if unknown:
                raise SystemExit(f"not in the catalogue: {', '.join(sorted(unknown))}")
            chosen = [template for template in templates if not names or template.key in names]
            return await pull_images(context, chosen, typer.echo)

    raise typer.Exit(0 if run(work()) else 1)


async def pull_images(context: WorkerContext, templates: Sequence[Template], echo: Callable[[str], None]) -> bool:
    """Pull the templates' images in turn and print each result; returns False if one is still missing.

    An image that is built on the server is only looked up.
    """
    complete = True
    for template in templates:
        try:
            if template.build is None:
                await context.runtime.pull(template.image, ignore_progress)
            present = await context.runtime.image_digest(template.image) is not None
            outcome = "is there" if present else "is missing; it is built on the server"
        except RuntimeFault as fault:
            present, outcome = False, fault.code
        complete = complete and present
        echo(f"{template.key}: {template.image} {outcome}")
    return complete
