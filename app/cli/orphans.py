"""`spawner orphans`: engine objects with our label but without a row."""

from typing import Annotated

import typer

from app.cli.running import run
from app.core.settings.reading import load_settings
from workers.context import open_context
from workers.unclaimed import Unclaimed, find_unclaimed, remove_unclaimed


def orphans(
    remove: Annotated[bool, typer.Option("--remove", help="Remove them, after confirmation.")] = False,
    volumes: Annotated[bool, typer.Option("--volumes", help="Include volumes, with their files.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """List engine objects with our label but without a row; `--remove` deletes them. Run it on a worker's host."""
    found = run(_find())
    for item in found:
        typer.echo(str(item))
    if not found:
        typer.echo("every engine object with our label has a row")
    chosen = [item for item in found if volumes or item.kind != "volume"]
    if remove and chosen:
        if not yes:
            running = sum(item.state in ("running", "paused") for item in chosen)
            typer.confirm(f"Remove {len(chosen)} of these, {running} still running? This cannot be undone", abort=True)
        run(_remove(chosen))


async def _find() -> list[Unclaimed]:
    async with open_context(load_settings()) as context:
        return await find_unclaimed(context)


async def _remove(chosen: list[Unclaimed]) -> None:
    async with open_context(load_settings()) as context:
        for item in chosen:
            await remove_unclaimed(context, item)
            typer.echo(f"removed    {item.name}")
