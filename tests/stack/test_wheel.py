"""The package as an operator installs it: the wheel, the lock for running, and no clone anywhere near."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from asyncpg import connect

from deploy.stack.proxy import find_caddy
from deploy.stack.services import APPLICATION_ROLE, Services
from tests.conftest import ROOT

# Installing is the machine's and the index's speed.
pytestmark = pytest.mark.timeout(900)


def _must(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds the runtime lock and the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    python = str(folder / "venv/bin/python")
    _must([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)])
    (wheel,) = folder.glob("*.whl")
    _must([uv, "venv", "-q", "--python", sys.executable, str(folder / "venv")])
    install = [uv, "pip", "install", "-q", "--python", python]
    _must([*install, "--require-hashes", "-r", str(ROOT / "requirements.lock")])
    _must([*install, "--no-deps", str(wheel)])
    _must([uv, "pip", "check", "-q", "--python", python])
    return folder / "venv/bin"


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Path]:
    """A folder that has nothing of ours."""
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
async def empty(services: Services) -> dict[str, str]:
    """The settings of an installation whose database has no table yet."""
    database = "installed"
    connection = await connect(services.database_owner_url.replace("+asyncpg", ""))
    await connection.execute(f"DROP DATABASE IF EXISTS {database}")
    await connection.execute(f"CREATE DATABASE {database}")
    await connection.close()
    return {
        "SPAWNER_ENVIRONMENT": "development",
        "SPAWNER_SECRET_KEY": "a-secret-for-tests-0123456789-abcdefghij",
        "SPAWNER_DATABASE_URL": services.database_url.replace("/spawner?", f"/{database}?"),
        "SPAWNER_DATABASE_OWNER_URL": services.database_owner_url.replace("/spawner?", f"/{database}?"),
        "SPAWNER_REDIS_URL": services.redis_url,
        "SPAWNER_SMTP_URL": services.smtp_url,
        "SPAWNER_DOCKER_URL": "unix:///nowhere",
    }


async def run(programs: Path, folder: Path, settings: dict[str, str], *arguments: str) -> tuple[int, str]:
    command = [str(programs / "spawner"), *arguments]
    done = await asyncio.to_thread(subprocess.run, command, cwd=folder, env=settings, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


async def test_the_installed_package_migrates_checks_and_examines_from_a_foreign_folder(
    installed: Path, foreign: Path, empty: dict[str, str]
) -> None:
    code, said = await run(installed, foreign, empty, "--help")
    assert (code, "migrate" in said, "doctor" in said) == (0, True, True), said
    code, said = await run(installed, foreign, empty, "check")
    assert (code, said) == (0, "settings and catalogue are valid: 2 templates\n")
    code, said = await run(installed, foreign, empty, "doctor", "--json")
    assert code == 1
    assert {item["name"]: item["level"] for item in json.loads(said)}["migrations"] == "fail"
    for _ in range(2):
        code, said = await run(installed, foreign, empty, "migrate")
        assert code == 0, said
    _, said = await run(installed, foreign, empty, "doctor", "--json")
    found = {item["name"]: item["level"] for item in json.loads(said)}
    assert {name: found[name] for name in ("database", "migrations", "redis", "mail")} == {
        "database": "ok", "migrations": "ok", "redis": "ok", "mail": "ok",
    }  # fmt: skip
    assert APPLICATION_ROLE in empty["SPAWNER_DATABASE_URL"]


async def adapted(configuration: Path) -> bytes:
    command = [str(find_caddy()), "adapt", "--config", str(configuration), "--adapter", "caddyfile"]
    return (await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)).stdout


async def test_the_installed_package_ships_a_catalogue_and_the_proxys_configuration(
    installed: Path, foreign: Path, empty: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    catalogue = (ROOT / "images/catalog.yaml").read_text()
    assert await run(installed, foreign, empty, "sample", "catalogue") == (0, catalogue)
    status, printed = await run(installed, foreign, empty, "sample", "caddyfile")
    assert status == 0
    alone = tmp_path_factory.mktemp("sample") / "Caddyfile"
    alone.write_text(printed)
    # One file, which says the same as the two that a clone has.
    assert await adapted(alone) == await adapted(ROOT / "deploy/Caddyfile")


async def test_the_installed_api_serves_pages_with_their_styles(installed: Path, foreign: Path) -> None:
    script = """
import asyncio, app, workers.jobs.send_mail
from app.main import create_app
from app.core.settings.model import Settings
from app.mail.messages import *
async def main():
    api = create_app(Settings(_env_file=None, environment="development", secret_key="0123456789abcdef" * 2))
    async def nothing():
        await asyncio.Event().wait()
    for path in ("/static/app.css", "/openapi.json", "/docs"):
        sent = []
        async def note(message):
            sent.append(message)
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "client": None}
        await api({**scope, "server": ("localhost", 8080), "scheme": "http"}, nothing, note)
        print(path, sent[0]["status"])
    print(app.__file__)
asyncio.run(main())
"""
    command = [str(installed / "python"), "-c", script]
    done = await asyncio.to_thread(subprocess.run, command, cwd=foreign, env={}, capture_output=True, text=True)
    *served, module = done.stdout.splitlines()
    assert served == ["/static/app.css 200", "/openapi.json 200", "/docs 200"], done.stderr
    assert str(installed.parent) in module


def test_no_lock_names_a_place_to_download_from_and_the_runtime_lock_holds_no_test_tool() -> None:
    running, developing = ((ROOT / name).read_text() for name in ("requirements.lock", "requirements-dev.lock"))
    for lock in (running, developing):
        assert "://" not in lock
        assert "--hash=sha256:" in lock
    pinned = [{line.split(" ")[0] for line in lock.splitlines() if "==" in line} for lock in (running, developing)]
    assert pinned[0] <= pinned[1]
    assert not [name for name in pinned[0] if name.startswith(("pytest", "mypy", "ruff", "playwright", "bandit"))]
