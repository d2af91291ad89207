"""`make up`: start what does not run, leave alone what does, and say where it answers."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]

from app.core.shipped import code_revision
from deploy.compose.images import ensure_images as ensure_compose_images
from deploy.compose.plugin import ensure_compose
from deploy.stack import debian, images
from deploy.stack.console import StepFailed, say, step, wait_until
from deploy.stack.engine import Engine, EngineFailed, engine_url, ensure_engine
from deploy.stack.envfile import read_environment, write_environment
from deploy.stack.environment import (
    PORT,
    asks_for_certificates,
    catalogue,
    ensure_secret,
    given_settings,
    migration_settings,
    stack_settings,
)
from deploy.stack.layout import Layout, free_port, port_is_free, read_ports, write_ports
from deploy.stack.processes import Process
from deploy.stack.programs import APPLICATION, BUILDER, application_processes, embedded_processes
from deploy.stack.readiness import READY, readiness
from deploy.stack.rules import ensure_nft
from deploy.stack.services import ensure_database, is_migrated, redis_answers, smtp_answers
from deploy.stack.supervisor import RUNNING, Supervisor

READY_SECONDS = 120


@contextmanager
def only_one(layout: Layout) -> Iterator[None]:
    """Refuse to change a stack that another command is changing."""
    with (layout.state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StepFailed("another make up, down or clean is at work in this clone") from None
        yield


def up(layout: Layout) -> None:
    """Bring the whole stack up. Repeatable; raises `StepFailed` at the first step that ends badly."""
    supervisor = Supervisor(layout)
    given = given_settings(layout.root, os.environ)
    with step("Settings") as current:
        ports = choose_ports(layout, given, supervisor)
        settings = stack_settings(layout, given, ports, engine_url({**os.environ, **given}))
        ensure_secret(layout.state / "secret_key")
        check_settings(layout, settings)
        write_ports(layout, ports)
        write_environment(layout.environment, settings)
        current.detail = f"port {ports['public']}, instance {settings['SPAWNER_INSTANCE']}"
    with ThreadPoolExecutor(1) as beside:
        finding = beside.submit(_engine_step, layout, given)
        embedded = _services_step(layout, supervisor, given, settings, ports)
        engine = finding.result()
        building = beside.submit(_images_step, layout, engine, settings)
        own = any(process.name == "postgres" for process in embedded)
        _migrate(layout, migration_settings(layout, given, settings), embedded=own)
        _application_step(supervisor, embedded)
        later = building.result()
    if later:
        supervisor.ensure_started(BUILDER)
    _ready_step(layout, supervisor, settings)
    _print_addresses(settings, later, embedded)


def check_settings(layout: Layout, settings: Mapping[str, str]) -> None:
    """Raise `StepFailed` with a line for each wrong setting, before anything that runs is touched.

    Settings that the stack was started with before were good then.
    """
    if read_environment(layout.environment) == settings:
        return
    command = [str(layout.python), "-m", "app.cli", "check"]
    environment = {**os.environ, **settings}
    done = subprocess.run(command, cwd=layout.root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepFailed((done.stderr.strip() or done.stdout.strip()).replace("\n", "\n    "))


def choose_ports(layout: Layout, given: Mapping[str, str], supervisor: Supervisor) -> dict[str, int]:
    """Keep the ports of last time where they are ours or free; name whoever holds the public one."""
    ports = read_ports(layout)
    running = supervisor.states() if supervisor.is_up() else {}
    held = {name for name, state in running.items() if state.state == RUNNING}
    ports["public"], before = public_port(given, ports.get("public", PORT)), ports.get("public")
    if not ("caddy" in held and before == ports["public"]) and not port_is_free(ports["public"]):
        raise StepFailed(busy_port(ports["public"], find_holder(ports["public"])))
    chosen = {"public": ports["public"]}
    for name, program, first in (
        ("smtp", "mail", 9125),
        *([("ask", "gateway", 9100)] if asks_for_certificates(given) else []),
    ):
        usable = name in ports and (program in held or port_is_free(ports[name]))
        chosen[name] = ports[name] if usable else free_port(first)
    return chosen


def public_port(given: Mapping[str, str], before: int) -> int:
    """Read SPAWNER_PORT, or the port of a given SPAWNER_PUBLIC_URL; else keep what it was."""
    value = given.get("SPAWNER_PORT", "")
    if value:
        if not value.isascii() or not value.isdigit() or not 0 < int(value) < 65536:
            raise StepFailed(f"SPAWNER_PORT is {value!r}, and not a port between 1 and 65535")
        return int(value)
    return urlsplit(given.get("SPAWNER_PUBLIC_URL", "")).port or before


def find_holder(port: int) -> str:
    """Name the process that listens on a port, or nothing: other users' processes are hidden from us."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""


def busy_port(port: int, holder: str) -> str:
    """The sentence for a public port that somebody else has."""
    who = holder or "another process, of a user whose processes you may not see,"
    return f"port {port} is held by {who}; stop it, or let Spawner listen elsewhere: SPAWNER_PORT={port + 1} make up"


def _engine_step(layout: Layout, given: Mapping[str, str]) -> Engine:
    with step("Docker") as current:
        engine = ensure_engine({**os.environ, **given}, layout.log("dockerd"), current)
        ensure_nft(current)
        return engine


def _services_step(
    layout: Layout,
    supervisor: Supervisor,
    given: Mapping[str, str],
    settings: Mapping[str, str],
    ports: Mapping[str, int],
) -> list[Process]:
    """Start PostgreSQL, Redis and the mail sink, those that are embedded, and wait until they answer."""
    with step("Services") as current:
        embedded = embedded_processes(layout, given, ports)
        supervisor.configure([*embedded, *application_processes(layout, settings, ports)])
        supervisor.start()
        names = [process.name for process in embedded]
        gone = set(supervisor.states()) - {*names, *APPLICATION, BUILDER}
        supervisor.apply([*names, *gone])
        for name in names:
            supervisor.ensure_started(name)
        if "postgres" in names:
            ensure_database(layout.run, "spawner", layout.log("postgres"))
        redis_url = settings["SPAWNER_REDIS_URL"]
        own = f"the Redis of SPAWNER_REDIS_URL does not answer at {urlsplit(redis_url).hostname}"
        silent = StepFailed("Redis does not answer", layout.log("redis")) if "redis" in names else StepFailed(own)
        wait_until(partial(redis_answers, redis_url), 60, lambda: silent)
        if "mail" in names:
            failure = StepFailed("the mail sink does not answer", layout.log("mail"))
            wait_until(partial(smtp_answers, ports["smtp"]), 60, lambda: failure)
        current.detail = ", ".join(names) if names else "all yours"
    return embedded


def _migrate(layout: Layout, settings: Mapping[str, str], *, embedded: bool) -> None:
    """Run what the database lacks. The embedded one is asked first, as alembic loads for seconds to find nothing."""
    with step("Migrations") as current:
        if embedded and is_migrated(layout.run, "spawner", code_revision()):
            current.detail = "none needed"
            return
        command = [str(layout.python.with_name("alembic")), "upgrade", "head"]
        with layout.log("migrations").open("w") as log:
            done = subprocess.run(
                command, cwd=layout.root, env={**os.environ, **settings}, stdout=log, stderr=log, check=False
            )
        if done.returncode:
            raise StepFailed("the database could not be migrated", layout.log("migrations"))


def _application_step(supervisor: Supervisor, embedded: list[Process]) -> None:
    with step("API, gateway and workers") as current:
        changed = supervisor.apply([*APPLICATION, BUILDER])
        started = [name for name in APPLICATION if supervisor.ensure_started(name)]
        supervisor.wait_running([*(process.name for process in embedded), *APPLICATION])
        restarted = [name for name in started if name in changed]
        current.detail = (
            f"restarted {', '.join(restarted)}" if restarted else "started" if started else "running already"
        )


def _images_step(layout: Layout, engine: Engine, settings: Mapping[str, str]) -> list[images.Sample]:
    """Build the default template's image if it is missing; return those that are left for the background."""
    with step("Images") as current:
        try:
            wanted = images.samples(catalogue(layout, settings))
            first = [sample for sample in wanted if sample.first]
            images.ensure_images(engine, first, layout, current.announce)
            later = images.missing(engine, [sample for sample in wanted if not sample.first])
        except EngineFailed as error:
            raise StepFailed(f"the engine refused: {error}", layout.log("images")) from None
        ready = [sample.image for sample in wanted if sample not in later]
        current.detail = f"ready: {', '.join(ready) or 'none'}"
        return later


def _ready_step(layout: Layout, supervisor: Supervisor, settings: Mapping[str, str]) -> None:
    """Wait until the API through Caddy, and the gateway, say that all they need is there."""
    with step("Ready") as current:
        heard: dict[str, str] = {}

        def ready() -> bool:
            supervisor.wait_running(APPLICATION)
            heard.update(readiness(settings))
            return set(heard.values()) == {READY}

        def late() -> StepFailed:
            silent = next(part for part, said in heard.items() if said != READY)
            words = f"the {silent} is not ready after {READY_SECONDS} s; it said: {heard[silent]}"
            return StepFailed(words, layout.log(silent))

        wait_until(ready, READY_SECONDS, late, pause=0.2)
        current.detail = settings["SPAWNER_PUBLIC_URL"]


def _print_addresses(settings: Mapping[str, str], later: list[images.Sample], embedded: list[Process]) -> None:
    url = settings["SPAWNER_PUBLIC_URL"]
    print(f"\n  Spawner is up:  {url}\n  API reference:  {url}/docs")
    if any(process.name == "mail" for process in embedded):
        print("  Mails:          make inbox   (none leaves this machine)")
    if later:
        print(f"  Still building: {', '.join(sample.image for sample in later)}   (make logs PART=images)")
    print("  Next:           make demo    (the whole path in this terminal), make status, make down\n")


def running_settings(layout: Layout) -> dict[str, str]:
    """The settings of the stack that runs here. Raises `StepFailed` if none does."""
    settings = read_environment(layout.environment)
    if not settings or not Supervisor(layout).is_up():
        raise StepFailed("Spawner does not run here: `make up` starts it")
    return settings


def background_images(layout: Layout) -> None:
    """Build in the background whatever image is missing, and tell the API's users through Redis."""
    settings = read_environment(layout.environment)
    engine = Engine(settings["SPAWNER_DOCKER_URL"])
    share = images.Shared(settings["SPAWNER_REDIS_URL"], settings["SPAWNER_INSTANCE"])
    images.ensure_images(engine, images.samples(catalogue(layout, settings)), layout, partial(say, "…"), share)


def prepare_tests(root: Path, layout: Layout) -> None:
    """What the tests need of the machine: an engine, every image, Docker Compose, a browser."""
    given = given_settings(root, os.environ)
    engine = _engine_step(layout, given)
    with ThreadPoolExecutor(2) as beside:
        # They wait for the network more than for the processor.
        others = [beside.submit(_compose_images_step, layout, engine), beside.submit(_programs_step, layout)]
        with step("Images") as current:
            tested = images.samples(root / "tests" / "templates" / "catalog.yaml")
            wanted = [*images.samples(catalogue(layout, given)), *tested]
            images.ensure_images(engine, wanted, layout, current.announce)
        for other in others:
            other.result()


def _compose_images_step(layout: Layout, engine: Engine) -> None:
    with step("Compose images") as current:
        current.detail = ", ".join(ensure_compose_images(engine, layout, current).values())


def _programs_step(layout: Layout) -> None:
    with step("Compose") as current:
        ensure_compose(layout, current)
    with step("Browser") as current:
        current.detail = find_browser()


def find_browser() -> str:
    """Find Chromium for the tests of the pages, installed where we may. Raises `StepFailed` with what to install."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None and debian.can_install():
        debian.install("chromium")
        found = shutil.which("chromium")
    if found is None:
        raise StepFailed("the tests of the pages need Chromium: install it (Debian: sudo apt-get install chromium)")
    return found
