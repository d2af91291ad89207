"""`spawner keys`: the secrets that sign and hash."""

from typing import Annotated

import typer

from app.core.settings.reading import load_settings
from app.security.keyring import rotate as rotate_file

app = typer.Typer(no_args_is_help=True, help="Secrets that sign and hash.")


@app.command()
def rotate(
    keep: Annotated[int, typer.Option(min=1, help="Secrets to keep, with the new one; 1 ends every session.")] = 2,
) -> None:
    """Add a new secret that signs and hashes from now on; the kept older secrets stay valid."""
    path = load_settings().secret_key_file
    if path is None:
        raise SystemExit(
            "only files can be rotated, but SPAWNER_SECRET_KEY holds the secret itself: write the secret into a file "
            "and set SPAWNER_SECRET_KEY_FILE instead"
        )
    try:
        kept = rotate_file(path, keep)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path} was not changed: {getattr(error, 'strerror', None) or error}") from None
    typer.echo(f"{path} begins with a new secret; {kept - 1} older {'ones verify' if kept != 2 else 'one verifies'}")
