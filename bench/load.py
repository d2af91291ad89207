"""Load from a process of its own: `python -m bench.load` reads what to send from its input and writes what came back.

Each connection sends one request after the other, or, paced, one at each tick of a clock; then the time counts from the
tick, so that a server that stalls does not hide the requests that it kept from being sent.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Self, cast

import uvloop

from bench.table import Failed, percentile

ANSWER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Order:
    """What to send to a port of this machine: `heads` in turns, one each `pace` seconds; 0: as fast as answers come."""

    port: int
    heads: tuple[str, ...]
    connections: int = 8
    seconds: float = 2.0
    pace: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back: answers by status, 0 for none; milliseconds, of the answers in order of their arrival."""

    seconds: float
    statuses: dict[int, int]
    milliseconds: list[float]

    @classmethod
    def sum(cls, outcomes: Sequence[Self]) -> Self:
        """Several as if they were one."""
        statuses: dict[int, int] = {}
        for outcome in outcomes:
            for status, count in outcome.statuses.items():
                statuses[status] = statuses.get(status, 0) + count
        milliseconds = [one for outcome in outcomes for one in outcome.milliseconds]
        return cls(sum(outcome.seconds for outcome in outcomes), statuses, milliseconds)

    def require(self, status: int, what: str) -> Self:
        """These answers, all of which have that status. Raises `Failed`."""
        if self.failures(status) or not self.milliseconds:
            raise Failed(f"{what} answered {self.statuses}")
        return self

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.milliseconds) / self.seconds

    def percentile(self, percent: float) -> float:
        """Of the milliseconds."""
        return percentile(self.milliseconds, percent)

    def failures(self, *good: int) -> int:
        """How many answers had another status than these."""
        return sum(count for status, count in self.statuses.items() if status not in good)


def get(path: str, headers: Mapping[str, str], host: str) -> str:
    """The head of a GET."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""])


class _Wire(asyncio.Protocol):
    """One connection: tells of one answer after the other by its status."""

    def __init__(self) -> None:
        self._data = b""
        self.transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[int] | None = None

    async def ask(self, head: str) -> int:
        """Send a request, and wait for the status of its answer; 0 where the connection ends instead."""
        if self.transport is None:
            return 0
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(head.encode())
        return await self._answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, rest = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        status, lower = int(head[9:12]), head.lower()
        at = lower.find(b"content-length:")
        if status in (204, 304):
            whole = True
        elif at >= 0:
            whole = len(rest) >= int(lower[at + 15 :].split(b"\r\n", 1)[0])
        else:
            whole = rest.endswith(b"0\r\n\r\n")
        if whole:
            self._data = b""
            if b"\r\nconnection: close" in lower and self.transport is not None:
                self.transport.abort()
                self.transport = None
            self._tell(status)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._tell(0)

    def _tell(self, status: int) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(status)


async def _connection(order: Order, number: int, until: float, found: list[tuple[float, int]]) -> None:
    loop = asyncio.get_running_loop()
    wire: _Wire | None = None
    due = time.perf_counter() + order.pace * number / order.connections
    for turn in range(number, 1 << 31):
        if order.pace:
            await asyncio.sleep(due - time.perf_counter())
        began = due if order.pace else time.perf_counter()
        due += order.pace
        if time.perf_counter() >= until:
            break
        status = 0
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if wire is None or wire.transport is None:
                    _, wire = await loop.create_connection(_Wire, "127.0.0.1", order.port)
                status = await wire.ask(order.heads[turn % len(order.heads)])
        except OSError:
            wire = None
        found.append(((time.perf_counter() - began) * 1000, status))
    if wire is not None and wire.transport is not None:
        wire.transport.abort()


async def serve(order: Order) -> Outcome:
    """Send until the time is over."""
    found: list[tuple[float, int]] = []
    began = time.perf_counter()
    until = began + order.seconds
    await asyncio.gather(*(_connection(order, number, until, found) for number in range(order.connections)))
    statuses: dict[int, int] = {}
    for _, status in found:
        statuses[status] = statuses.get(status, 0) + 1
    return Outcome(time.perf_counter() - began, statuses, [milliseconds for milliseconds, _ in found])


@asynccontextmanager
async def under_load(*orders: Order) -> AsyncIterator["asyncio.Task[list[Outcome]]"]:
    """Send from another process during the block, one order after the other, as long as they say."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.load", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    outcomes = asyncio.create_task(_read(process, orders))
    try:
        yield outcomes
    finally:
        if process.returncode is None and not outcomes.done():
            process.kill()
        await process.wait()


async def _read(process: asyncio.subprocess.Process, orders: Sequence[Order]) -> list[Outcome]:
    answer, _ = await process.communicate(json.dumps([asdict(order) for order in orders]).encode())
    return [
        Outcome(said["seconds"], {int(key): count for key, count in said["statuses"].items()}, said["milliseconds"])
        for said in json.loads(answer)
    ]


async def in_turns(ours: Order, floor: Order, rounds: int) -> tuple[Outcome, Outcome]:
    """Send both from one other process, in short turns, so that a noisy moment hits both; returns all of each."""
    async with under_load(*[ours, floor] * rounds) as outcomes:
        found = await outcomes
    return Outcome.sum(found[::2]), Outcome.sum(found[1::2])


async def _serve_all(orders: Sequence[Order]) -> list[Outcome]:
    return [await serve(order) for order in orders]


if __name__ == "__main__":
    given = [Order(**{**order, "heads": tuple(order["heads"])}) for order in json.load(sys.stdin)]
    json.dump([asdict(outcome) for outcome in uvloop.run(_serve_all(given))], sys.stdout)
