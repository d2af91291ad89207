"""The operator's commands: `spawner …`."""

import json
import secrets
from pathlib import Path
from typing import Annotated

import typer

from app.catalog.service import load_catalog
from app.main import create_app
from app.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Operate Spawner.")


@app.command()
def openapi(
    output: Annotated[Path | None, typer.Option(help="File to write; standard output without it.")] = None,
) -> None:
    """Print the OpenAPI document."""
    # The document depends on no setting; this secret signs nothing.
    settings = Settings(_env_file=None, environment="development", secret_key=secrets.token_hex(32))
    text = json.dumps(create_app(settings).openapi(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text)


@app.command()
def check() -> None:
    """Read settings and catalogue as the services do, and say what is wrong with them."""
    settings = load_settings()
    catalog = load_catalog(settings.catalog)
    typer.echo(f"settings and catalogue are good: {len(catalog.templates)} templates")


if __name__ == "__main__":
    app()
