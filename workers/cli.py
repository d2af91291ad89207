"""The whole `spawner` command: what `app.cli` offers, and what needs the engine or concerns workers."""

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

import typer

from app.cli import app
from app.resources import make_redis
from app.settings import load_settings
from workers.context import open_context
from workers.doctor import examine
from workers.heartbeat import beats_here
from workers.pulls import warm

__all__ = ["app"]

images = typer.Typer(no_args_is_help=True, help="Images of the catalogue.")
worker = typer.Typer(no_args_is_help=True, help="Workers.")
app.add_typer(images, name="images")
app.add_typer(worker, name="worker")


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Look at everything that Spawner needs, where a worker runs; say what is wrong, and end with 1 if it matters."""
    findings = asyncio.run(examine(load_settings()))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            typer.echo(str(finding))
    raise typer.Exit(int(any(finding.level == "fail" for finding in findings)))


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
    """Fetch images before anybody launches them, together with the workers: nothing is fetched twice."""

    async def run() -> bool:
        async with open_context(load_settings()) as context:
            templates = context.resources.catalog.templates
            unknown = set(names or ()) - {template.key for template in templates}
            if unknown:
                raise SystemExit(f"not in the catalogue: {', '.join(sorted(unknown))}")
            chosen = [template for template in templates if not names or template.key in names]
            return await warm(context, chosen, typer.echo)

    raise typer.Exit(0 if asyncio.run(run()) else 1)


@worker.command()
def live() -> None:
    """End with 0 if a worker of this host was heard of within seconds and its engine answers: a liveness probe."""

    async def run() -> list[str]:
        async with make_redis(load_settings().redis_url) as redis:
            return await beats_here(redis)

    beats = asyncio.run(run())
    if not beats:
        raise SystemExit("no worker of this host was heard of lately")
    if "ok" not in beats:
        raise SystemExit(f"the engine does not answer this host's workers: {', '.join(sorted(set(beats)))}")
    typer.echo("a worker lives and its engine answers")


if __name__ == "__main__":
    app()
