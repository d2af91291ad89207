"""The operator's commands: `spawner …`."""

import asyncio
import enum
import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.emails import normalise, read_mailbox
from app.accounts.errors import InvalidAddress
from app.accounts.status import StatusChange, change_status
from app.accounts.users import find_by_email
from app.admin.account_deletion import delete_user
from app.admin.service import limit_user
from app.audit.trail import COMMAND
from app.auth.operators import make_admin, make_sign_in_link
from app.catalog.loader import CatalogInvalid, load_catalog
from app.core.errors import AppError
from app.core.schema import code_revision, upgrade
from app.core.settings.model import Settings
from app.core.settings.reading import SettingsWrong, load_settings, read_settings
from app.core.shipped import Shipped, shipped
from app.main import create_app
from app.models import User
from app.resources import Resources, open_resources
from app.security.keyring import rotate as rotate_file

MAX_LIMIT = 10_000


class Sample(enum.StrEnum):
    CADDYFILE = "caddyfile"
    CATALOGUE = "catalogue"


SAMPLES: dict[Sample, Shipped] = {Sample.CADDYFILE: "Caddyfile", Sample.CATALOGUE: "catalog.yaml"}

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Operate Spawner.")
user = typer.Typer(no_args_is_help=True, help="Accounts.")
admin = typer.Typer(no_args_is_help=True, help="Admins.")
app.add_typer(user, name="user")
keys = typer.Typer(no_args_is_help=True, help="Secrets that sign and hash.")
app.add_typer(keys, name="keys")
app.add_typer(admin, name="admin")

Address = Annotated[str, typer.Argument(help="The account's e-mail address.")]


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
    """Read settings and catalogue as the services do, and say everything that is wrong with them."""
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


@app.command()
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


@app.command()
def sample(name: Annotated[Sample, typer.Argument(help="What to print.")]) -> None:
    """Print a file that ships with Spawner, to start from: Caddy's configuration, or the catalogue."""
    text = shipped(SAMPLES[name]).read_text("utf-8")
    # What is printed stands alone.
    imported = shipped("answers.caddyfile").read_text("utf-8")
    typer.echo(text.replace("import answers.caddyfile\n", imported), nl=False)


@keys.command()
def rotate(
    keep: Annotated[int, typer.Option(min=1, help="How many secrets there are afterwards; 1 ends every sign-in.")] = 2,
) -> None:
    """Sign and hash with a fresh secret from now on; what was made with the others that are kept stays good."""
    path = load_settings().secret_key_file
    if path is None:
        raise SystemExit(
            "the secret comes from SPAWNER_SECRET_KEY itself: write it into a file, name that in "
            "SPAWNER_SECRET_KEY_FILE, and only files are rotated from then on"
        )
    try:
        kept = rotate_file(path, keep)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path} stays as it is: {getattr(error, 'strerror', None) or error}") from None
    typer.echo(f"{path} begins with a fresh secret; {kept - 1} older {'ones verify' if kept != 2 else 'one verifies'}")


@user.command()
def delete(
    address: Address,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete an account with its workspaces and files."""
    if not yes:
        typer.confirm(f"Delete {address} with all workspaces and files? They never come back", abort=True)

    async def work(session: AsyncSession, resources: Resources, found: User) -> str:
        await delete_user(session, resources, found.id, actor=COMMAND)
        return f"{found.email} is deleted; workers remove the containers and files within a minute"

    _change(address, work)


@user.command()
def limit(
    address: Address,
    limit: Annotated[str, typer.Argument(help="Workspaces at once; 0 sets no limit, none follows the settings.")],
) -> None:
    """Set how many workspaces a user may run at once."""
    if limit != "none" and not (limit.isdecimal() and int(limit) <= MAX_LIMIT):
        raise typer.BadParameter(f"must be a number up to {MAX_LIMIT}, or none")

    async def work(session: AsyncSession, _: Resources, found: User) -> str:
        await limit_user(session, found.id, None if limit == "none" else int(limit), actor=COMMAND)
        return f"{found.email}: {limit}"

    _change(address, work)


@admin.callback()
def _admin() -> None:
    """Keeps `create` a command of its own: a group of one would be that command."""


@admin.command()
def create(
    address: Address,
    link: Annotated[
        bool, typer.Option("--link", help="Print a link that signs in once: where no mail arrives.")
    ] = False,
) -> None:
    """Make somebody an admin, with an account if they have none, whatever SIGNUP says. Mails nothing."""

    async def run() -> str:
        settings = load_settings()
        async with open_resources(settings) as resources, resources.unit_of_work() as session:
            made = await make_admin(session, read_mailbox(address))
            if made.blocked_at is not None:
                return f"{made.email} is an admin, but blocked: another admin has to unblock the account"
            if link:
                address_of_link = make_sign_in_link(session, resources, made)
                return (
                    f"{made.email} is an admin. Works once, within {settings.magic_link_seconds} s:\n{address_of_link}"
                )
            return f"{made.email} is an admin. To sign in, ask for a link at {settings.public_url}/sign-in"

    try:
        typer.echo(asyncio.run(run()))
    except InvalidAddress:
        raise SystemExit(f"{address} is not a usable e-mail address") from None


@user.command()
def block(address: Address) -> None:
    """Sign a user out everywhere and keep them out; their workspaces stay as they are."""
    _change_standing(address, StatusChange.BLOCK, "is blocked; what runs of theirs still runs")


@user.command()
def unblock(address: Address) -> None:
    """Let a blocked user sign in again."""
    _change_standing(address, StatusChange.UNBLOCK, "may sign in")


@user.command()
def promote(address: Address) -> None:
    """Make a user an admin."""
    _change_standing(address, StatusChange.PROMOTE, "is an admin")


@user.command()
def demote(address: Address) -> None:
    """Make an admin a user like others."""
    _change_standing(address, StatusChange.DEMOTE, "is no admin")


def _change_standing(address: str, change: StatusChange, said: str) -> None:
    async def work(session: AsyncSession, _: Resources, found: User) -> str:
        await change_status(session, found.id, change, actor=COMMAND)
        return f"{found.email} {said}"

    _change(address, work)


def _change(address: str, work: Callable[[AsyncSession, Resources, User], Awaitable[str]]) -> None:
    """Do something with an account in one transaction, and say what; or say why not, and end with 1."""

    async def run() -> str:
        async with open_resources(load_settings()) as resources, resources.unit_of_work() as session:
            try:
                found = await find_by_email(session, normalise(address))
            except InvalidAddress:
                found = None
            if found is None:
                raise SystemExit(f"there is no account of {address}")
            return await work(session, resources, found)

    try:
        typer.echo(asyncio.run(run()))
    except AppError as error:
        raise SystemExit(error.detail.format("en", **error.values)) from None


if __name__ == "__main__":
    app()
