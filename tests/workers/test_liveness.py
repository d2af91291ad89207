"""The liveness probe tells a worker that lives from one that does not, and costs a busy host next to nothing."""

import asyncio
import os
import resource
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from app.core.settings.model import Settings
from app.runtime.base import EngineUnavailable
from tests.conftest import ROOT, TestWorker
from tests.support.driving import until
from tests.support.fakes import FakeRuntime
from workers.identity import place
from workers.liveness import LIFE_SECONDS, PRIVATE, heartbeat_path
from workers.loops import heartbeat
from workers.loops.heartbeat import HeartbeatFile, beat


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "workers"


def probe(folder: Path, **changes: str) -> tuple[int, str]:
    """Ask as an orchestrator does."""
    given = {"SPAWNER_HEARTBEAT_DIR": str(folder), "SPAWNER_INSTANCE": "a", "PYTHONPATH": str(ROOT), **changes}
    command = [sys.executable, "-m", "app.cli", "worker", "live"]
    done = subprocess.run(command, env=given, cwd=folder.parent, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def write(folder: Path, where: str, pid: int, engine: str, age: float = 0) -> None:
    (folder / PRIVATE).mkdir(mode=0o700, parents=True, exist_ok=True)
    path = Path(heartbeat_path(str(folder), "a", where, pid))
    path.write_text(engine)
    os.utime(path, (time.time() - age, time.time() - age))


@pytest.mark.parametrize(
    ("beats", "code", "sentence"),
    [
        ([], 1, "no worker of this host"),
        ([("elsewhere", 1, "ok", 0)], 1, "no worker of this host"),
        # A container beside this one has its files at the same path, if an operator mounts it so.
        ([(place() + "1", 1, "ok", 0)], 1, "no worker of this host"),
        ([(place(), 1, "engine_unavailable", 0)], 1, "engine_unavailable"),
        ([(place(), 1, "loop_failing", 0)], 1, "a background loop"),
        ([(place(), 1, "engine_unavailable", 0), (place(), 2, "ok", 0)], 0, "a worker lives"),
        ([(place(), 1, "ok", 2 * LIFE_SECONDS)], 1, "no worker of this host"),
    ],
)
def test_a_probe_tells_whether_a_worker_of_this_host_can_work(
    folder: Path, beats: list[tuple[str, int, str, float]], code: int, sentence: str
) -> None:
    for given in beats:
        write(folder, *given)
    found, said = probe(folder)
    assert found == code, said
    assert sentence in said


def test_a_folder_that_others_may_write_to_says_nothing(folder: Path) -> None:
    write(folder, place(), 1, "ok")
    (folder / PRIVATE).chmod(0o777)
    assert probe(folder)[0] == 1


def test_a_worker_lives_in_a_mounted_folder_that_anybody_may_write_to(settings: Settings, folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    settings.heartbeat_dir = folder
    file = HeartbeatFile(settings)
    file.write("ok")
    assert stat.S_IMODE((folder / PRIVATE).stat().st_mode) == 0o700
    assert probe(folder, SPAWNER_INSTANCE=settings.instance)[0] == 0
    file.remove()


def test_a_worker_tells_that_its_folder_is_anothers_or_leads_elsewhere(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A logger that was used before would keep to its processors.
    monkeypatch.setattr(heartbeat, "log", structlog.get_logger("fresh"))
    folder.mkdir()
    settings.heartbeat_dir = folder
    (folder / "elsewhere").mkdir(mode=0o700)
    (folder / PRIVATE).symlink_to(folder / "elsewhere")
    with capture_logs() as said:
        HeartbeatFile(settings).write("ok")
    assert [line["event"] for line in said] == ["heartbeat_file_unusable"]
    assert not list((folder / "elsewhere").iterdir())


def test_the_settings_of_a_file_count_where_the_environment_says_nothing(folder: Path) -> None:
    write(folder, place(), 1, "ok")
    (folder.parent / ".env").write_text("SPAWNER_INSTANCE=a\n")
    assert probe(folder, SPAWNER_INSTANCE="other")[0] == 1
    given = {"SPAWNER_HEARTBEAT_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "app.cli", "worker", "live"]
    assert subprocess.run(command, env=given, cwd=folder.parent, capture_output=True).returncode == 0


def test_a_probe_costs_less_than_a_tenth_of_a_second_of_processor_and_loads_no_library(folder: Path) -> None:
    write(folder, place(), 1, "ok")
    costs = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert probe(folder)[0] == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(costs) < 0.1
    names = {"app.core", "pydantic", "typer", "redis", "structlog", "sqlalchemy", "asyncio", "dotenv"}
    script = (
        "import sys; sys.argv[1:] = ['worker', 'live']; from app.cli.__main__ import main\n"
        "try: main()\n"
        f"except SystemExit: print(sorted({names!r} & set(sys.modules)))"
    )
    given = {"SPAWNER_HEARTBEAT_DIR": str(folder), "SPAWNER_INSTANCE": "a", "PYTHONPATH": str(ROOT)}
    loaded = subprocess.run([sys.executable, "-c", script], env=given, capture_output=True, text=True, check=True)
    assert loaded.stdout.splitlines()[-1] == "[]"


async def test_a_worker_says_that_it_lives_also_while_redis_is_away_and_no_more_once_it_ends(
    worker: TestWorker, runtime: FakeRuntime, folder: Path
) -> None:
    settings = worker.context.resources.settings
    settings.heartbeat_dir = folder
    given = {"SPAWNER_INSTANCE": settings.instance}
    await worker.context.resources.redis.connection_pool.disconnect()
    beating = asyncio.create_task(beat(worker.context))

    async def lives() -> bool:
        return (await asyncio.to_thread(probe, folder, **given))[0] == 0

    await until(lives)
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    assert os.listdir(folder / PRIVATE) == []  # noqa: PTH208 - pathlib's blocks as well
    assert not await lives()


async def test_an_engine_that_does_not_answer_is_told(worker: TestWorker, runtime: FakeRuntime, folder: Path) -> None:
    async def ping() -> None:
        raise EngineUnavailable

    runtime.ping = ping  # type: ignore[method-assign]  # as an engine that was stopped
    settings = worker.context.resources.settings
    settings.heartbeat_dir = folder
    beating = asyncio.create_task(beat(worker.context))

    async def told() -> bool:
        return "engine_unavailable" in (await asyncio.to_thread(probe, folder, SPAWNER_INSTANCE=settings.instance))[1]

    await until(told)
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_a_worker_whose_loop_keeps_failing_says_so(
    worker: TestWorker, runtime: FakeRuntime, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "failing_loops", lambda: ["watch"])
    settings = worker.context.resources.settings
    settings.heartbeat_dir = folder
    beating = asyncio.create_task(beat(worker.context))

    async def told() -> bool:
        return "a background loop" in (await asyncio.to_thread(probe, folder, SPAWNER_INSTANCE=settings.instance))[1]

    await until(told)
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_only_what_killed_workers_left_is_removed(worker: TestWorker, folder: Path) -> None:
    settings = worker.context.resources.settings
    settings.heartbeat_dir = folder
    write(folder, "elsewhere", 3, "ok")
    left, fresh = f"{settings.instance}.{place().replace('/', '_')}.1", f"{settings.instance}.elsewhere.2"
    others = ["notes.txt", f"{settings.instance}.log", f"other.{left}"]
    for name in (left, *others):
        (folder / PRIVATE / name).write_text("")
        os.utime(folder / PRIVATE / name, (0, 0))
    (folder / PRIVATE / fresh).write_text("ok")
    file = HeartbeatFile(settings)
    file.write("ok")
    file.remove()
    found = os.listdir(folder / PRIVATE)  # noqa: PTH208 - pathlib's blocks as well
    assert sorted(found) == sorted(["a.elsewhere.3", fresh, *others])


async def test_a_folder_that_cannot_be_written_stops_no_worker(worker: TestWorker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = worker.context.resources.settings
    settings.heartbeat_dir = tmp_path / "file" / "workers"
    file = HeartbeatFile(settings)
    file.write("ok")
    file.write("ok")
    file.remove()
