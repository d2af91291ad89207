"""A probe that does not succeed says in which way: an error, another port, or no answer in time."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import select

from app.core.i18n import LOCALES
from app.models import JobEvent, JobState, JobStep
from app.resources import Resources
from app.runtime.base import Endpoint, EngineUnavailable
from app.runtime.docker.host_view import is_container, listening
from app.workspaces.errors import explain
from tests.conftest import TestWorker
from tests.support.driving import accept, drive, read
from tests.support.fakes import FakeRuntime, http_peer
from workers.jobs.probe import ProbeAnsweredError, ProbeFailed, ProbeTimeout, WrongPort, ask_status, wait_ready

PORT = 8080


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port of loopback where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """Takes connections and never answers."""

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def probe(runtime: FakeRuntime, port: int) -> ProbeFailed:
    runtime.containers["one"] = None  # type: ignore[assignment]
    endpoint = Endpoint("127.0.0.1", port, "c", "d")
    with pytest.raises(ProbeFailed) as failed:
        await wait_ready(ask_status, runtime, "one", endpoint, "/", port=PORT, seconds=0.3)
    return failed.value


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.jobs.probe.ANSWER", aiohttp.ClientTimeout(total=0.1))


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200),
        (b"HTTP/1.0 404\r\nServer: x\r\n\r\n", 404),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 503 Busy\r\n\r\n", 503),
        (b"HTTP/1.1 200 OK\r\n", None),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", None),
        (b"x" * 100_000, None),
        (b"", None),
    ],
)
async def test_the_status_is_read_from_the_head_alone(said: bytes, status: int | None) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(said)
        writer.close()

    head = list[bytes]()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await ask_status(Endpoint("127.0.0.1", port, "c", "d"), "/ready?x=1") == status
    assert head[0].startswith(f"GET /ready?x=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode())


async def test_an_error_is_told_with_its_status(runtime: FakeRuntime) -> None:
    runtime.listens = ["0.0.0.0:9000"]
    async with http_peer(503) as port:
        failed = await probe(runtime, port)
    assert (type(failed), failed.detail) == (ProbeAnsweredError, "status 503")


@pytest.mark.parametrize("places", [["0.0.0.0:9000"], ["127.0.0.1:8080"], ["[::1]:8080", "[::]:18080"]])
async def test_another_port_or_the_containers_own_loopback_is_named(
    places: list[str], runtime: FakeRuntime, nobody: int
) -> None:
    runtime.listens = places
    failed = await probe(runtime, nobody)
    assert type(failed) is WrongPort
    assert all(place in failed.detail for place in places)
    assert failed.detail.endswith("not on 0.0.0.0:8080")


@pytest.mark.parametrize("places", [None, [], ["[::]:8080"], ["127.0.0.1:8080", "0.0.0.0:8080"]])
async def test_nothing_that_listens_yet_is_slow(places: list[str] | None, runtime: FakeRuntime, nobody: int) -> None:
    runtime.listens = places
    failed = await probe(runtime, nobody)
    assert (type(failed), failed.detail) == (ProbeTimeout, "no answer in 0.3 s")


async def test_silence_where_it_listens_is_slow_and_an_engine_that_is_away_says_nothing_else(
    runtime: FakeRuntime,
) -> None:
    async def away(name: str) -> list[str]:
        raise EngineUnavailable

    async with silent() as port:
        assert type(await probe(runtime, port)) is ProbeTimeout
        runtime.listening = away  # type: ignore[method-assign]  # as an engine that was stopped
        assert type(await probe(runtime, port)) is ProbeTimeout


async def test_the_timeline_and_the_code_say_which(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise ProbeAnsweredError("status 500")

    monkeypatch.setattr("workers.jobs.launch.wait_ready", refuse)
    job = await accept(resources)
    await drive(worker, job)
    row, workspace, _ = await read(resources, job)
    assert (row.state, row.error_code, workspace.error_code) == (JobState.FAILED, "probe_error", "probe_error")
    async with resources.reads() as session:
        query = select(JobEvent.detail).where(JobEvent.job_id == row.id, JobEvent.step == JobStep.FAILED)
        assert await session.scalar(query) == "status 500"


def test_each_way_has_a_sentence_of_its_own() -> None:
    for locale in LOCALES:
        assert len({explain(code, locale) for code in ("probe_timeout", "probe_error", "probe_wrong_port")}) == 3


def test_the_kernels_table_is_read_for_the_container_alone(tmp_path: Path) -> None:
    process = tmp_path / "7"
    (process / "net").mkdir(parents=True)
    (process / "cgroup").write_text("4:memory:/docker/abc\n0::/\n")
    head = "  sl  local_address rem_address   st tx_queue\n"
    (process / "net/tcp").write_text(
        f"{head}   0: 0100007F:1F90 00000000:0000 0A 0\n   1: 0200000A:1F91 00000000:0000 01 0\n"
        "   2: 0B00007F:8001 00000000:0000 0A 0\n"
    )
    (process / "net/tcp6").write_text(f"{head}   0: {32 * '0'}:0050 {32 * '0'}:0000 0A 0\n")
    assert listening(7, "abc", tmp_path) == ["[::]:80", "127.0.0.1:8080"]
    assert listening(7, "other", tmp_path) is None
    assert listening(8, "abc", tmp_path) is None
    assert not is_container(0, "abc", tmp_path)
