"""`spawner worker`: this host's workers."""

import typer

from workers.liveness import probe

app = typer.Typer(no_args_is_help=True, help="Workers.")


@app.command()
def live() -> None:
    """Exit with 0 if a worker of this host reported within seconds and its engine answers: a liveness probe."""
    # `__main__` handles this command before importing Typer; this one exists for `--help`.
    raise typer.Exit(probe())
