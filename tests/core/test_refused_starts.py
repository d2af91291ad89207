"""What is wrong with settings or catalogue is said in one line, by every process, with no traceback."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.settings.model import Settings
from tests.conftest import ROOT

PROGRAMS = {
    "check": ["app.cli", "check"],
    "doctor": ["app.cli", "doctor", "--json"],
    "user": ["app.cli", "user", "block", "alice@example.org"],
    "api": ["app", "--listen", "127.0.0.1:0"],
    "gateway": ["app.gateway", "--listen", "127.0.0.1:0"],
    "worker": ["workers"],
}


async def run(settings: Settings, folder: Path, program: str, **changes: str) -> tuple[int, str, str]:
    given = {
        "SPAWNER_ENVIRONMENT": "development",
        "SPAWNER_SECRET_KEY": settings.secret_key,
        "SPAWNER_DATABASE_URL": settings.database_url,
        "SPAWNER_REDIS_URL": settings.redis_url,
        "SPAWNER_DOCKER_URL": "unix:///nowhere",
        "PYTHONPATH": str(ROOT),
        **changes,
    }
    command = [sys.executable, "-m", *PROGRAMS[program]]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=folder, env=given, capture_output=True, text=True, timeout=110
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"SPAWNER_CATALOG": "/nowhere.yaml"},
            "SPAWNER_CATALOG: /nowhere.yaml: cannot be read: No such file or directory",
        ),
        ({"SPAWNER_PUBLC_URL": "x"}, "SPAWNER_PUBLC_URL is not a setting: use SPAWNER_PUBLIC_URL, or remove it"),
    ],
)
async def test_each_process_says_the_line_and_ends(
    settings: Settings, tmp_path: Path, program: str, changes: dict[str, str], line: str
) -> None:
    code, out, err = await run(settings, tmp_path, program, **changes)
    assert code not in (0, -9)
    assert "Traceback" not in err
    if program == "doctor":
        assert {(item["level"], item["text"]) for item in json.loads(out)} == {("fail", line)}
    else:
        assert line in err


async def test_check_lists_every_fault_of_settings_files_and_catalogue_at_once(
    settings: Settings, tmp_path: Path
) -> None:
    catalogue = tmp_path / "catalog.yaml"
    text = (ROOT / "images" / "catalog.yaml").read_text()
    catalogue.write_text(
        text.replace("port: 8888", "port: 0").replace("read_only: true", "mounts: [{host: /srv/a, path: /a}]")
    )
    changes = {
        "SPAWNER_ENVIRONMENT": "production",
        "SPAWNER_PUBLC_URL": "x",
        "SPAWNER_PORTS": "x",
        "SPAWNER_REDIS_URL": "",
        "SPAWNER_REDIS_URL_FILE": "/nowhere",
        "SPAWNER_MAGIC_LINK_SECONDS": "never",
        "SPAWNER_SIGNUP": "domains",
        "SPAWNER_SECRET_KEY": "short",
        "SPAWNER_WORKSPACE_URL": "http://apps.example.org",
        "SPAWNER_ALLOWED_MOUNTS": "srv",
        "SPAWNER_CATALOG": str(catalogue),
    }
    code, out, err = await run(settings, tmp_path, "check", **changes)
    assert code == 1
    assert out == ""
    *of_settings, of_catalogue = err.splitlines()
    assert of_catalogue.startswith(f"{catalogue}:")
    assert "templates.jupyter.port" in of_catalogue
    assert [line.split(": ")[0] for line in of_settings] == [
        "SPAWNER_PUBLC_URL is not a setting",
        "SPAWNER_REDIS_URL_FILE",
        "SPAWNER_ALLOWED_MOUNTS",
        "SPAWNER_MAGIC_LINK_SECONDS",
        "SPAWNER_WORKSPACE_URL must be http:// or https:// and contain {route} once, in its host or its path",
        "SPAWNER_SIGNUP=domains needs at least one domain in SPAWNER_SIGNUP_DOMAINS",
        "SPAWNER_SECRET_KEY is missing or weak",
        "SPAWNER_WORKSPACE_URL must begin with https:// in production",
    ]


async def test_migrations_read_the_env_file(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SPAWNER_DATABASE_URL=postgresql://spawner:canary@db/spawner\n")
    command = [sys.executable, "-m", "app.cli", "migrate"]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("SPAWNER_DATABASE_URL: must look like postgresql+asyncpg://")
    assert "canary" not in line
