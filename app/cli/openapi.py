"""`spawner openapi`: the API's description."""

import json
import secrets
from pathlib import Path
from typing import Annotated

import typer

from app.core.settings.model import Settings
from app.main import create_app


def openapi(
    output: Annotated[Path | None, typer.Option(help="File to write; default: standard output.")] = None,
) -> None:
    """Print the OpenAPI document."""
    # No setting affects the document; this secret signs nothing.
    settings = Settings(_env_file=None, environment="development", secret_key=secrets.token_hex(32))
    text = json.dumps(create_app(settings).openapi(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text)
