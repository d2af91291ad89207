"""The processes of one clone's stack, in the order they start."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from deploy.stack.environment import socket_address
from deploy.stack.layout import Layout, passable
from deploy.stack.processes import Process
from deploy.stack.proxy import caddy_process
from deploy.stack.services import mail_process, postgres_process, redis_process

WORKERS = ("worker-1", "worker-2")
APPLICATION = ("api", "gateway", *WORKERS, "caddy")
BUILDER = "images"
_SOURCES = ("app", "workers", "alembic", "images/catalog.yaml", "requirements-dev.lock")


def embedded_processes(layout: Layout, given: Mapping[str, str], ports: Mapping[str, int]) -> list[Process]:
    """Prepare and describe PostgreSQL, Redis and the mail sink, without those that the operator brings."""
    found = []
    if not given.get("SPAWNER_DATABASE_URL"):
        found.append(postgres_process(postgres_data(layout), layout.run))
    if not given.get("SPAWNER_REDIS_URL"):
        found.append(redis_process(layout.state / "redis", layout.run))
    if not given.get("SPAWNER_SMTP_URL"):
        found.append(mail_process(ports["smtp"], layout.maildir, layout.root, str(layout.python)))
    return found


def postgres_data(layout: Layout) -> Path:
    """Where the database lives: below `.spawner`, or where its own user can pass if that is closed to it."""
    if os.getuid() != 0 or passable(layout.state):
        return layout.state / "postgres"
    outside = Path(f"/var/lib/spawner-{layout.identity}")
    outside.mkdir(mode=0o711, exist_ok=True)
    link = layout.state / "postgres"
    if not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(outside / "postgres")
    return outside / "postgres"


def application_processes(layout: Layout, settings: Mapping[str, str], ports: Mapping[str, int]) -> list[Process]:
    """Describe API, gateway, workers, Caddy and the builder of images; each reads the settings' file when it starts."""
    api = (str(layout.python), "-m", "app", "--listen", socket_address(layout, "api"))
    asked = ("--listen", f"127.0.0.1:{ports['ask']}") if "ask" in ports else ()
    gateway = (str(layout.python), "-m", "app.gateway", "--listen", socket_address(layout, "gateway"), *asked)
    worker = (str(layout.python), "-m", "workers")
    code = repr(sorted(settings.items())) + _sources_digest(layout.root)
    caddy = caddy_process(layout.root, layout.state / "caddy", settings)
    # Caddy, too, reads the settings from the file: none of them stands in the supervisor's configuration.
    home = {name: value for name, value in caddy.environment.items() if name not in settings}
    proxied = {name: value for name, value in settings.items() if name in caddy.fingerprint}
    builder = (str(layout.python), "-m", "deploy.stack", "images")

    def program(name: str, command: tuple[str, ...], fingerprint: str, stop_seconds: int) -> Process:
        wrapped = _with_settings(layout, command)
        return Process(name, wrapped, layout.root, fingerprint=fingerprint, stop_seconds=stop_seconds, stage=2)

    return [
        replace(program("api", api, code, 25), answers=True),
        replace(program("gateway", gateway, code, 25), answers=True),
        *(program(name, worker, code, 30) for name in WORKERS),
        replace(program(BUILDER, builder, "", 10), restart=False),
        replace(
            caddy,
            command=_with_settings(layout, caddy.command),
            environment=home,
            fingerprint=caddy.fingerprint + repr(sorted(proxied.items())),
            stop_seconds=15,
            stage=3,
        ),
    ]


def _with_settings(layout: Layout, command: tuple[str, ...]) -> tuple[str, ...]:
    return (str(layout.python), "-m", "deploy.stack.run", *command)


def _sources_digest(root: Path) -> str:
    """Hash what API, gateway and workers are made of, so that `make up` after a change restarts them."""
    digest = hashlib.sha256()
    for path in _source_files(root):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def _source_files(root: Path) -> Iterator[Path]:
    for name in _SOURCES:
        top = root / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                yield path
