"""`spawner user` and `spawner admin`."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.emails import normalise, read_mailbox
from app.accounts.errors import InvalidAddress
from app.accounts.status import StatusChange, change_status
from app.accounts.users import find_by_email
from app.admin.account_deletion import delete_user
from app.admin.service import limit_user
from app.audit.trail import COMMAND
from app.auth.operators import make_admin, make_sign_in_link
from app.cli.running import run, transaction
from app.models import User
from app.resources import Resources

MAX_LIMIT = 10_000

users = typer.Typer(no_args_is_help=True, help="Accounts.")
admins = typer.Typer(no_args_is_help=True, help="Admins.")

Address = Annotated[str, typer.Argument(help="The account's e-mail address.")]


@users.command()
def delete(
    address: Address,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete an account with its workspaces and files."""
    if not yes:
        typer.confirm(f"Delete {address} with all workspaces and files? This cannot be undone", abort=True)

    async def work(session: AsyncSession, _: Resources, user: User) -> str:
        await delete_user(session, user.id, actor=COMMAND)
        return f"{user.email} is deleted; workers remove the containers and files within a minute"

    _change(address, work)


@users.command()
def limit(
    address: Address,
    limit: Annotated[str, typer.Argument(help="Workspaces at once; 0: no limit, none: the settings' limit.")],
) -> None:
    """Set how many workspaces a user may run at once."""
    if limit != "none" and not (limit.isdecimal() and int(limit) <= MAX_LIMIT):
        raise typer.BadParameter(f"must be a number up to {MAX_LIMIT}, or none")

    async def work(session: AsyncSession, _: Resources, user: User) -> str:
        await limit_user(session, user.id, None if limit == "none" else int(limit), actor=COMMAND)
        return f"{user.email}: {limit}"

    _change(address, work)


@users.command()
def block(address: Address) -> None:
    """Sign a user out everywhere and keep them out; their workspaces stay unchanged."""
    _change_status(address, StatusChange.BLOCK, "is blocked; their workspaces keep running")


@users.command()
def unblock(address: Address) -> None:
    """Let a blocked user sign in again."""
    _change_status(address, StatusChange.UNBLOCK, "may sign in")


@users.command()
def promote(address: Address) -> None:
    """Make a user an admin."""
    _change_status(address, StatusChange.PROMOTE, "is an admin")


@users.command()
def demote(address: Address) -> None:
    """Remove a user's admin role."""
    _change_status(address, StatusChange.DEMOTE, "is not an admin any more")


@admins.command()
def create(
    address: Address,
    link: Annotated[bool, typer.Option("--link", help="Print a one-time sign-in link, if mail does not work.")] = False,
) -> None:
    """Make an address an admin; creates the account if missing, whatever SIGNUP says. Sends no mail."""

    async def work() -> str:
        async with transaction() as (session, resources):
            settings, user = resources.settings, await make_admin(session, mailbox)
            if user.blocked_at is not None:
                return f"{user.email} is an admin, but blocked: another admin must unblock the account"
            if link:
                url = make_sign_in_link(session, resources, user)
                return f"{user.email} is an admin. This link works once, within {settings.magic_link_seconds} s:\n{url}"
            return f"{user.email} is an admin. To sign in, request a link at {settings.public_url}/sign-in"

    try:
        mailbox = read_mailbox(address)
    except InvalidAddress:
        raise SystemExit(f"{address} is not a usable e-mail address") from None
    typer.echo(run(work()))


def _change_status(address: str, change: StatusChange, outcome: str) -> None:
    async def work(session: AsyncSession, _: Resources, user: User) -> str:
        await change_status(session, user.id, change, actor=COMMAND)
        return f"{user.email} {outcome}"

    _change(address, work)


def _change(address: str, change: Callable[[AsyncSession, Resources, User], Awaitable[str]]) -> None:
    """Change an account in one transaction and print the result; exit with 1 if the account does not exist."""

    async def work() -> str:
        async with transaction() as (session, resources):
            try:
                user = await find_by_email(session, normalise(address))
            except InvalidAddress:
                user = None
            if user is None:
                raise SystemExit(f"no account has the address {address}")
            return await change(session, resources, user)

    typer.echo(run(work()))
