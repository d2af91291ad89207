"""What the kernel counts for a machine or a user, taken by one workspace: its neighbours and the host have theirs."""

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.runtime.base import Endpoint
from app.runtime.docker.firewall import MAX_CONNECTIONS
from app.runtime.docker.kernel import BOUNDS, Demand, lacking, read, settings_of
from app.runtime.docker.policy import MAX_TERMINALS
from tests.support.attacks import Attack
from tests.support.engine import fetch
from tests.support.waiting import PATIENCE

MEMORY = 512 << 20
# As the attacker and its neighbour are made, and as many of them as would fit twice.
DEMAND = Demand(memory_bytes=4 * MEMORY, workspaces=4, processes=4 * 64)
PUBLIC = "198.51.100.9"


@pytest.fixture
def prepared() -> Iterator[None]:
    """The host's sysctls as the doctor asks for them; those that are too low are set, and put back."""
    before = {}
    for bound, value, need in lacking(DEMAND):
        before[bound.name] = value
        _set(bound.name, need)
    yield
    for name, value in before.items():
        _set(name, value)


def _set(name: str, value: int) -> None:
    Path("/proc/sys", name.replace(".", "/")).write_text(str(value))


@pytest.fixture
async def two(request: pytest.FixtureRequest, attack: Attack, prepared: None) -> tuple[Endpoint, Endpoint]:
    """An attacker and its neighbour, of the same image and so of the same user. The attacker may be in a warm seat."""

    async def one(*, warm: bool) -> Endpoint:
        spec, _ = await attack.spec(memory_bytes=MEMORY)
        return await attack.run(spec, {"the internet": (PUBLIC, 53)}, warm=warm)

    first, second = await asyncio.gather(one(warm=getattr(request, "param", False)), one(warm=False))
    return first, second


async def seize(endpoint: Endpoint, what: str) -> tuple[int, list[str]]:
    said = json.loads(await fetch(endpoint, f"/seize/{what}", seconds=PATIENCE))
    return said["held"], said["refusals"]


async def take(endpoint: Endpoint, what: str) -> str:
    said: str = json.loads(await fetch(endpoint, f"/take/{what}", seconds=PATIENCE))["said"]
    return said


def as_user(code: str) -> None:
    """Run Python on the host as the user whose number the workspaces' has, and as root."""
    # The system's own: another one may lie where only root may read.
    python = shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin") or "python3"
    for user in (1000, 0):
        done = subprocess.run([python, "-c", code], user=user, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


WATCH = "import ctypes; made = ctypes.CDLL(None).inotify_init1(0); assert made > 0"
WATCH += "; assert ctypes.CDLL(None).inotify_add_watch(made, b'/usr', 2) > 0"
HOST = {
    "terminals": "import os; os.openpty()",
    "inotify": WATCH,
    "epoll": "import select, os; select.epoll().register(os.pipe()[0])",
    "pipes": "import os; os.pipe()",
    "files": "open('/dev/null')",
    "timers": "import ctypes; event = (ctypes.c_int * 16)(); event[2] = 10; made = ctypes.c_int()\n"
    "assert not ctypes.CDLL(None).syscall(222, 1, event, ctypes.byref(made))",
}


HELD = ["terminals", "inotify", "epoll", "pipes", "files"]


@pytest.mark.parametrize(
    ("what", "two"),
    [*((what, False) for what in HELD), ("terminals", True), ("pipes", True)],
    ids=[*HELD, "terminals in a warm seat", "pipes in a warm seat"],
    indirect=["two"],
)
async def test_neighbours_and_host_have_theirs_while_one_workspace_holds_all_that_it_gets(
    what: str, two: tuple[Endpoint, Endpoint]
) -> None:
    attacker, neighbour = two
    held, refusals = await seize(attacker, what)
    assert held >= MAX_TERMINALS
    assert await take(neighbour, what) == "ok", (held, refusals)
    await asyncio.to_thread(as_user, HOST[what])


@pytest.mark.parametrize("what", ["aio", "keys", "queues"])
async def test_what_nobody_needs_is_had_by_no_workspace(what: str, two: tuple[Endpoint, Endpoint]) -> None:
    """There is nothing to take: the host keeps all of it."""
    before = read("fs.aio-nr")
    held, refusals = await seize(two[0], what)
    assert held == 0
    assert refusals == ["EPERM" if what == "keys" else "ENOSYS"]
    assert read("fs.aio-nr") == before


async def test_the_hosts_user_of_the_same_number_keeps_its_timers_and_everybody_their_signals(
    two: tuple[Endpoint, Endpoint],
) -> None:
    """Pending signals are counted for a user, and a workspace's bound is far below a host's."""
    held, _ = await seize(two[0], "timers")
    assert held <= 1024 * 2
    await asyncio.to_thread(as_user, HOST["timers"])
    assert json.loads(await fetch(two[1], "/signals")) == {"heard": True}


async def test_one_workspace_does_not_fill_the_machines_table_of_connections(two: tuple[Endpoint, Endpoint]) -> None:
    held, refusals = await seize(two[0], "connections")
    source = two[0].host
    entries = [line for line in _connections() if f"src={source} " in line]
    assert held >= MAX_CONNECTIONS
    # The kernel counts before it adds: those that come at the same instant pass together.
    assert len(entries) <= MAX_CONNECTIONS + 40
    assert refusals
    assert await take(two[1], "connections") == "ok"
    assert any(f"src={two[1].host} " in line for line in _connections())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.sendto(b"x", (PUBLIC, 53))


def _connections() -> list[str]:
    return Path("/proc/net/nf_conntrack").read_text().splitlines()


def test_the_bounds_grow_with_what_may_run(tmp_path: Path) -> None:
    small, large = Demand(1 << 30, 4, 256), Demand(1 << 34, 64, 32768)
    assert settings_of(small).keys() == settings_of(large).keys() == {bound.name for bound in BOUNDS}
    assert all(settings_of(small)[name] <= value for name, value in settings_of(large).items())
    for name, value in settings_of(large).items():
        path = tmp_path / name.replace(".", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    assert list(lacking(large, tmp_path)) == []
    (tmp_path / "kernel/pid_max").write_text("400\n")
    (tmp_path / "fs/pipe-user-pages-soft").write_text("0\n")
    (tmp_path / "net/netfilter/nf_conntrack_max").unlink()
    assert [(bound.name, value) for bound, value, _ in lacking(large, tmp_path)] == [("kernel.pid_max", 400)]
