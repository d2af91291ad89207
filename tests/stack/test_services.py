import asyncio
import os
import signal
import smtplib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import pytest
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app.core.shipped import code_revision
from deploy.stack.inbox import read_mails
from deploy.stack.processes import Process, child
from deploy.stack.services import APPLICATION_ROLE, Services, is_migrated, postgres_process, private_services

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with private_services(ROOT) as running:
        yield running


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory with a short path that PostgreSQL's own user may enter, which pytest's is not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


async def test_tables_that_are_this_versions_and_the_roles_are_not_migrated_once_more(services: Services) -> None:
    sockets = Path(services.database_url.split("host=")[1]).parent
    newest = code_revision()

    def migrated(revision: str = newest) -> bool:
        return is_migrated(sockets, "spawner", revision)

    assert not await asyncio.to_thread(migrated)
    given = ["-x", f"url={services.database_owner_url}", "-x", f"role={APPLICATION_ROLE}"]
    command = [sys.executable, "-m", "alembic", *given, "upgrade", "head"]
    await asyncio.to_thread(subprocess.run, command, cwd=ROOT, check=True, capture_output=True)
    assert await asyncio.to_thread(migrated)
    assert not await asyncio.to_thread(migrated, "9999")
    owner = create_async_engine(services.database_owner_url)
    async with owner.begin() as connection:
        await connection.execute(text(f"REVOKE ALL ON users FROM {APPLICATION_ROLE}"))
    await owner.dispose()
    assert not await asyncio.to_thread(migrated)


async def test_postgres_answers_sqlalchemy_and_knows_unicode(services: Services) -> None:
    engine = create_async_engine(services.database_url)
    async with engine.connect() as connection:
        found = (await connection.execute(text("SELECT current_database(), lower('ÄÖ')"))).one()
    await engine.dispose()
    assert tuple(found) == ("spawner", "äö")


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
def test_postgres_refuses_other_users_of_the_machine(base: Path, services: Services) -> None:
    sockets = services.database_url.split("host=")[1]
    psql = Path(postgres_process(base / "data", base).command[0]).with_name("psql")
    command = [str(psql), "-h", sockets, "-U", "postgres", "-c", "SELECT 1", "spawner"]
    assert subprocess.run(command, cwd="/", capture_output=True, check=False).returncode == 0
    refused = subprocess.run(command, user="nobody", cwd="/", capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "Permission denied" in refused.stderr


def test_preparing_postgres_again_keeps_its_data(base: Path) -> None:
    first = postgres_process(base / "data", base)
    made = (base / "data" / "PG_VERSION").stat()
    assert postgres_process(base / "data", base) == first
    assert (base / "data" / "PG_VERSION").stat().st_ino == made.st_ino


def test_redis_answers(services: Services) -> None:
    with redis.Redis.from_url(services.redis_url) as client:
        assert client.set("a", "1")
        assert client.get("a") == b"1"


def test_mail_arrives_with_its_link_and_its_letters(services: Services) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.com", "jörg@exämple.com", "Grüße"
    message.set_content("Öffnen: http://localhost:8080/auth/confirm#token=abc\n")
    with smtplib.SMTP("127.0.0.1", urlsplit(services.smtp_url).port or 0) as client:
        client.send_message(message)
    mail = read_mails(services.maildir)[0]
    assert (mail.to, mail.subject) == ("jörg@exämple.com", "Grüße")
    assert mail.links == ("http://localhost:8080/auth/confirm#token=abc",)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a child of its parent's death")
def test_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom deploy.stack.processes import Process, child\n"
        "with child(Process('nap', ('sleep', '60'), Path('/')), Path(sys.argv[1])) as running:\n"
        "    print(running.pid, flush=True)\n    time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert _gone(pid, 5)


def _gone(pid: int, seconds: float) -> bool:
    """A zombie that nobody has reaped yet is gone."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


async def test_child_that_ignores_its_stop_signal_is_killed(tmp_path: Path) -> None:
    stubborn = Process(
        "stubborn", ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"), Path("/"), stop_seconds=1
    )

    def run() -> int | None:
        with child(stubborn, tmp_path / "log") as running:
            while "up" not in (tmp_path / "log").read_text():
                time.sleep(0.01)
        return running.returncode

    assert await asyncio.to_thread(run) == -signal.SIGKILL
