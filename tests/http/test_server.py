"""Where a process listens: ports and Unix sockets, and what of them it may take."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from app.core.settings.model import Settings
from app.http.server import bind
from tests.conftest import ROOT
from tests.support.ports import reserved_port
from tests.support.processes import environment_of
from tests.support.waiting import PATIENCE


@pytest.fixture
def folder() -> Iterator[Path]:
    """A socket's path has 107 bytes at most, and those of pytest's own folders are longer."""
    with tempfile.TemporaryDirectory(prefix="spawner-", dir="/tmp") as made:
        yield Path(made)


def test_a_socket_is_its_owners_alone_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        with closing(bind(f"unix/{folder}/a.sock")):
            assert (folder / "a.sock").stat().st_mode & 0o777 == 0o600
        assert os.umask(0) == 0
    finally:
        os.umask(before)


def test_a_socket_that_a_dead_process_left_is_replaced_and_one_that_answers_is_not(folder: Path) -> None:
    address = f"unix/{folder}/a.sock"
    bind(address).close()
    with closing(bind(address)) as alive:
        alive.listen()
        with pytest.raises(SystemExit, match=r"cannot listen on unix/.*another process listens there"):
            bind(address)


def test_a_file_that_is_no_socket_is_left_alone(folder: Path) -> None:
    (folder / "a.sock").write_text("precious")
    with pytest.raises(SystemExit, match="cannot listen on"):
        bind(f"unix/{folder}/a.sock")
    assert (folder / "a.sock").read_text() == "precious"


def test_a_port_is_shared_by_processes_that_say_so_and_by_no_others() -> None:
    address = f"127.0.0.1:{reserved_port()}"
    with closing(bind(address, shared=True)) as first, closing(bind(address, shared=True)) as second:
        first.listen()
        second.listen()
        with pytest.raises(SystemExit, match="cannot listen on"):
            bind(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:http", "nowhere.invalid:1", "unix//nowhere/at/all"])
def test_an_address_that_cannot_be_had_is_named_in_a_sentence(address: str) -> None:
    with pytest.raises(SystemExit, match=f"cannot listen on {address}: "):
        bind(address)


def test_ipv6_is_written_in_brackets() -> None:
    try:
        with closing(bind("[::1]:0")) as made:
            assert made.family == socket.AF_INET6
    except SystemExit:
        pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize("module", ["app", "app.gateway"])
async def test_each_process_serves_its_installation_on_a_socket_and_leaves_when_told(
    settings: Settings, resources: object, folder: Path, module: str
) -> None:
    environment = {**os.environ, **environment_of(settings), "SPAWNER_API_LEAVE_SECONDS": "60"}
    path = folder / "a.sock"
    command = (sys.executable, "-m", module, "--listen", f"unix/{path}")
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    try:
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://process") as client,
            asyncio.timeout(PATIENCE),
        ):

            async def serving(instance: str = "") -> int:
                if not path.exists():
                    return 0
                try:
                    return (await client.get("/internal/serving", params={"instance": instance})).status_code
                except httpx.TransportError:
                    return 0

            while await serving() != 204:
                await asyncio.sleep(0.05)
            assert [await serving(name) for name in (settings.instance, "another")] == [204, 421]
            assert (await client.get("/livez")).json() == {"status": "ok"}
            assert (await client.get("/readyz")).json()["instance"] == settings.instance
            process.send_signal(signal.SIGTERM)
            while await serving() != 503:
                await asyncio.sleep(0.05)
            # It still answers; a second signal does not wait.
            assert (await client.get("/livez")).status_code == 200
            process.send_signal(signal.SIGTERM)
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
