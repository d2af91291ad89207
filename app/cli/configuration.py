"""Commands before the first start: check settings, migrate the database, print sample files."""

import enum
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from app.catalog.loader import CatalogInvalid, load_catalog
from app.core.schema import code_revision, upgrade
from app.core.settings.reading import SettingsWrong, read_settings
from app.core.shipped import Shipped, shipped


class Sample(enum.StrEnum):
    CADDYFILE = "caddyfile"
    CATALOGUE = "catalogue"


SAMPLES: dict[Sample, Shipped] = {Sample.CADDYFILE: "Caddyfile", Sample.CATALOGUE: "catalog.yaml"}


def check() -> None:
    """Validate settings and catalogue as the services do, and print all errors."""
    wrong: SettingsWrong | None = None
    lines: list[str] = []
    try:
        settings = read_settings()
    except SettingsWrong as found:
        wrong, settings = found, found.rest
        lines = str(found).splitlines()
    try:
        catalog = load_catalog(
            settings.catalog, settings.allowed, digests=settings.require_digests, host_mode=settings.host_mode
        )
    except CatalogInvalid as invalid:
        lines += wrong.without_consequences(invalid.mistakes) if wrong else invalid.mistakes
    if lines:
        raise SystemExit("\n".join(lines))
    for concern in settings.concerns:
        typer.echo(f"warning: {concern}")
    typer.echo(f"settings and catalogue are valid: {len(catalog.templates)} templates")


def migrate() -> None:
    """Migrate the database to this version, before it starts. Idempotent; concurrent runs wait in turn."""
    try:
        upgrade()
    except OSError as error:
        raise SystemExit(f"the database does not answer ({error.strerror or type(error).__name__})") from None
    except DBAPIError as error:
        # The server's message, which contains neither address nor password.
        raise SystemExit(f"the database refused: {str(error.orig).rpartition(': ')[2]}") from None
    typer.echo(f"the database schema is at this version's revision ({code_revision()})")


def sample(name: Annotated[Sample, typer.Argument(help="File to print.")]) -> None:
    """Print a sample file that ships with Spawner: Caddy's configuration or the catalogue."""
    text = shipped(SAMPLES[name]).read_text("utf-8")
    # The printed file must work without imports.
    imported = shipped("answers.caddyfile").read_text("utf-8")
    typer.echo(text.replace("import answers.caddyfile\n", imported), nl=False)
