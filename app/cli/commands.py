"""The command line as one Typer application."""

import typer

from app.cli import accounts, images, keys, worker
from app.cli.configuration import check, migrate, sample
from app.cli.doctor import doctor
from app.cli.openapi import openapi
from app.cli.orphans import orphans

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Operate Spawner.")
for command in (openapi, check, migrate, sample, doctor, orphans):
    app.command()(command)
app.add_typer(accounts.users, name="user")
app.add_typer(accounts.admins, name="admin")
app.add_typer(keys.app, name="keys")
app.add_typer(images.app, name="images")
app.add_typer(worker.app, name="worker")
