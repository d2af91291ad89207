"""What an installation needs before it starts: good settings, the database's tables, files to begin with."""

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
    """Read settings and catalogue as the services do, and print everything that is wrong with them."""
    wrong: SettingsWrong | None = None
    lines: list[str] = []
    try:
        settings = read_settings()
    except SettingsWrong as found:
        wrong, settings = found, found.rest
        lines = str(found).splitlines()
    try:
        catalog = load_catalog(settings.catalog, settings.allowed, digests=settings.require_digests)
    except CatalogInvalid as invalid:
        lines += wrong.without_consequences(invalid.mistakes) if wrong else invalid.mistakes
    if lines:
        raise SystemExit("\n".join(lines))
    for concern in settings.concerns:
        typer.echo(f"warning: {concern}")
    typer.echo(f"settings and catalogue are good: {len(catalog.templates)} templates")


def migrate() -> None:
    """Bring the database's tables to this version, before it starts. May be repeated; several at once wait in turn."""
    try:
        upgrade()
    except OSError as error:
        raise SystemExit(f"the database does not answer ({error.strerror or type(error).__name__})") from None
    except DBAPIError as error:
        # The server's own sentence, which names neither address nor password.
        raise SystemExit(f"the database refused: {str(error.orig).rpartition(': ')[2]}") from None
    typer.echo(f"the database has the tables of this version ({code_revision()})")


def sample(name: Annotated[Sample, typer.Argument(help="What to print.")]) -> None:
    """Print a file that ships with Spawner, to start from: Caddy's configuration, or the catalogue."""
    text = shipped(SAMPLES[name]).read_text("utf-8")
    # What is printed stands alone.
    imported = shipped("answers.caddyfile").read_text("utf-8")
    typer.echo(text.replace("import answers.caddyfile\n", imported), nl=False)
