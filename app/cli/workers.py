"""The whole `spawner` command: what `app.cli.main` offers, and what needs the engine or concerns workers."""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import typer
from sqlalchemy.exc import SQLAlchemyError

from app.cli.main import app
from app.core.settings.reading import SettingsWrong, load_settings, read_settings
from app.runtime.base import RuntimeFault
from workers.context import open_context
from workers.doctor.examine import examine
from workers.doctor.findings import Finding
from workers.jobs.pull import pull_images
from workers.liveness import probe
from workers.unclaimed import Unclaimed, find_unclaimed, remove_unclaimed

__all__ = ["app"]

T = TypeVar("T")

images = typer.Typer(no_args_is_help=True, help="Images of the catalogue.")
worker = typer.Typer(no_args_is_help=True, help="Workers.")
app.add_typer(images, name="images")
app.add_typer(worker, name="worker")


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Look at everything that Spawner needs, where a worker runs; say what is wrong, and end with 1 if it matters."""
    try:
        findings = asyncio.run(examine(read_settings()))
    except SettingsWrong as wrong:
        findings = [Finding("settings", "fail", line, "Correct it") for line in str(wrong).splitlines()]
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            typer.echo(str(finding))
    raise typer.Exit(int(any(finding.level == "fail" for finding in findings)))


@app.command()
def orphans(
    remove: Annotated[bool, typer.Option("--remove", help="Remove them, after a question.")] = False,
    volumes: Annotated[bool, typer.Option("--volumes", help="Volumes too: files never come back.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """List what is on the engine under our name and no row wants; `--remove` takes it away. Run it by a worker."""

    async def find() -> list[Unclaimed]:
        async with open_context(load_settings()) as context:
            return await find_unclaimed(context)

    async def take_away(chosen: list[Unclaimed]) -> None:
        async with open_context(load_settings()) as context:
            for item in chosen:
                await remove_unclaimed(context, item)
                typer.echo(f"removed    {item.name}")

    found = _answered(find())
    for item in found:
        typer.echo(str(item))
    if not found:
        typer.echo("everything on the engine under our name has a row")
    chosen = [item for item in found if volumes or item.kind != "volume"]
    if remove and chosen:
        if not yes:
            running = sum(item.state in ("running", "paused") for item in chosen)
            typer.confirm(f"Remove {len(chosen)} of these, {running} of which run? They never come back", abort=True)
        _answered(take_away(chosen))


def _answered(work: Coroutine[Any, Any, T]) -> T:
    """Run it, or end with 1 and a sentence where the engine or the database does not answer."""
    try:
        return asyncio.run(work)
    except RuntimeFault as fault:
        raise SystemExit(f"the engine refused ({fault.code}): {fault}") from None
    except (SQLAlchemyError, OSError) as error:
        # Not its text: it may hold an address with its password.
        raise SystemExit(f"the database does not answer ({type(error).__name__})") from None


@images.callback()
def _images() -> None:
    """Keeps `pull` a command of its own: a group of one would be that command."""


@worker.callback()
def _worker() -> None:
    """The same for `live`."""


@images.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Keys of templates; without one, all of them.")] = None,
) -> None:
    """Fetch images before anybody launches them. The engine fetches no layer twice, whoever else pulls."""

    async def run() -> bool:
        async with open_context(load_settings()) as context:
            templates = context.resources.catalog.templates
            unknown = set(names or ()) - {template.key for template in templates}
            if unknown:
                raise SystemExit(f"not in the catalogue: {', '.join(sorted(unknown))}")
            chosen = [template for template in templates if not names or template.key in names]
            return await pull_images(context, chosen, typer.echo)

    raise typer.Exit(0 if asyncio.run(run()) else 1)


@worker.command()
def live() -> None:
    """End with 0 if a worker of this host was heard of within seconds and its engine answers: a liveness probe."""

    raise typer.Exit(probe())


if __name__ == "__main__":
    app()
