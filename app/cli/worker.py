"""`spawner worker`: the workers of this host."""

import typer

from workers.liveness import probe

app = typer.Typer(no_args_is_help=True, help="Workers.")


@app.callback()
def _group() -> None:
    """Makes `live` a command of its own: a group of one command would be that command."""


@app.command()
def live() -> None:
    """Exit with 0 if a worker of this host reported within seconds and its engine answers: a liveness probe."""
    # `__main__` answers this command before it loads Typer; this one is for `--help`.
    raise typer.Exit(probe())
