"""The database's tables and the code beside them: versions that fit work on, others say so and what to do."""

import asyncio
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.schema import Schema, code_revision
from app.core.settings.model import Settings
from app.resources import Resources
from deploy.stack.demo import find_token
from deploy.stack.inbox import read_mails
from deploy.stack.processes import Process, child
from deploy.stack.services import Services
from tests.conftest import ROOT
from tests.support.http import direct_client
from tests.support.ports import reserved_port

# The version that was in use before tables said which code they serve.
LANDED = "0a74832"
PATIENCE = 120


def test_the_code_knows_its_newest_migration() -> None:
    assert [code_revision()] == ScriptDirectory(str(ROOT / "alembic")).get_heads()


@pytest.mark.parametrize(
    ("revision", "serves_from", "fit"),
    [
        ("", "", "older"),
        ("0003", "", "older"),
        (code_revision(), "0003", "ok"),
        ("9998", "0003", "ok"),
        ("9998", code_revision(), "ok"),
        ("9998", "9997", "newer"),
    ],
)
def test_tables_that_are_newer_fit_as_long_as_they_say_so(revision: str, serves_from: str, fit: str) -> None:
    assert Schema(revision, serves_from).fit == fit


@asynccontextmanager
async def tables_that(owner: AsyncEngine, change: str, undo: str) -> AsyncIterator[None]:
    """Change the tables as a migration would, until the block ends."""
    async with owner.begin() as connection:
        await connection.execute(text(change))
    try:
        yield
    finally:
        async with owner.begin() as connection:
            await connection.execute(text(undo))


CONTRACT = "UPDATE installation SET serves_from = '9999'"
EXPAND = "UPDATE installation SET serves_from = '0003'"


def environment(settings: Settings) -> dict[str, str]:
    return {
        "SPAWNER_ENVIRONMENT": "development",
        "SPAWNER_SECRET_KEY": settings.secret_key,
        "SPAWNER_DATABASE_URL": settings.database_url,
        "SPAWNER_REDIS_URL": settings.redis_url,
        "SPAWNER_SMTP_URL": settings.smtp_url,
        "SPAWNER_INSTANCE": settings.instance,
        "SPAWNER_DOCKER_URL": "unix:///nowhere",
    }


@pytest.mark.parametrize("module", ["app", "app.gateway", "workers"])
async def test_a_process_does_not_start_on_tables_that_no_longer_serve_it(
    resources: Resources, owner: AsyncEngine, settings: Settings, tmp_path: Path, module: str
) -> None:
    async with tables_that(owner, CONTRACT, EXPAND):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", module, *(["--listen", "127.0.0.1:0"] if module != "workers" else [])],
            env={**environment(settings), "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    assert done.returncode not in (0, -9), done.stderr
    assert "needs version 9999 or later, but this one is" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_process_that_runs_is_not_ready_on_tables_that_no_longer_serve_it(
    client: httpx.AsyncClient, owner: AsyncEngine
) -> None:
    async with tables_that(owner, CONTRACT, EXPAND):
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["tables"]) == (503, "newer")


async def test_a_request_that_meets_changed_tables_is_told_to_come_again_and_the_log_says_why(
    client: httpx.AsyncClient, owner: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    rename = "ALTER TABLE sessions RENAME COLUMN {} TO {}"
    async with tables_that(owner, rename.format("seen_at", "later"), rename.format("later", "seen_at")):
        answer = await client.get("/api/user/me", headers={"Cookie": f"spawner_session={'x' * 43}"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "tables_changed" in caplog.text


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the version before, out of the repository's history."""
    folder = tmp_path_factory.mktemp("landed")
    done = subprocess.run(["git", "archive", LANDED], cwd=ROOT, capture_output=True)
    if done.returncode:
        pytest.fail(
            f"The version before ({LANDED}) is not in this clone's history: `git fetch --unshallow`, and run the tests "
            f"in a clone. {done.stderr.decode().strip()}",
            pytrace=False,
        )
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@contextmanager
def running(folder: Path, settings: Settings, log: Path) -> Iterator[str]:
    """API and worker of another version's code, on this run's servers; yields the API's address."""
    port = reserved_port()
    variables = {**environment(settings), "PYTHONPATH": str(folder)}
    serve = ("uvicorn", "app.main:create_app", "--factory", "--host", "127.0.0.1", "--port", str(port))
    with ExitStack() as stack:
        for name, command in (("api", serve), ("worker", ("workers",))):
            process = Process(name, (sys.executable, "-m", *command), folder, variables)
            stack.enter_context(child(process, log / f"{name}.log"))
        yield f"http://127.0.0.1:{port}"


async def until_it_answers(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await client.get("/livez")
            except httpx.TransportError:
                await asyncio.sleep(0.1)
            else:
                return


async def mailed(maildir: Path, address: str) -> str:
    async with asyncio.timeout(PATIENCE):
        while True:
            for mail in await asyncio.to_thread(read_mails, maildir):
                if address in mail.to and (token := find_token(mail.links)):
                    return token
            await asyncio.sleep(0.1)


async def test_the_version_before_works_on_todays_tables(
    resources: Resources, services: Services, settings: Settings, landed: Path, tmp_path: Path
) -> None:
    address = f"before-{os.getpid()}@example.org"

    async def call(method: str, path: str, expected: int, **options: Any) -> Any:
        answer = await client.request(method, path, **options)
        assert answer.status_code == expected, (path, answer.text, (tmp_path / "api.log").read_text()[-3000:])
        return answer.json() if answer.content else None

    with running(landed, settings, tmp_path) as url:
        async with direct_client(url) as client:
            await until_it_answers(client)
            await call("POST", "/api/auth/signup", 200, json={"email": address})
            token = await mailed(services.maildir, address)
            signed_in = await call("POST", "/api/auth/verify", 200, json={"token": token})
            options: dict[str, Any] = {"headers": {"Authorization": f"Bearer {signed_in['access_token']}"}}
            for path in ("/api/user/me", "/api/user/containers", "/api/auth/sessions", "/api/jobs", "/api/volumes"):
                await call("GET", path, 200, **options)
            for path in ("overview", "users", "workspaces", "jobs", "audit", "mails"):
                await call("GET", f"/api/admin/{path}", 200, **options)
            launched = await call("POST", "/api/container/launch/jupyter", 202, **options)
            await call("GET", launched["status_url"], 200, **options)
            await call("POST", f"{launched['status_url']}/cancel", 200, **options)
            made = {"name": "t", "scopes": ["read"], "days": 1}
            answer = await client.post("/api/auth/tokens", json=made, **options)
            assert answer.status_code < 500, answer.text
            await call("POST", "/api/auth/logout", 200, **options)
            await call("GET", "/api/user/me", 401, **options)
    logs = "".join((tmp_path / f"{name}.log").read_text() for name in ("api", "worker"))
    assert "UndefinedColumn" not in logs
    assert "NotNullViolation" not in logs
    assert "UndefinedTable" not in logs
