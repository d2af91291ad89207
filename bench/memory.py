"""Memory of the platform's processes at rest, each with its children."""

from collections.abc import AsyncIterator

from bench.processes import memory_megabytes
from bench.table import Row, at_most, figure
from tests.support.stack import RunningStack

OURS = ("api", "gateway", "worker")
MOST_MEGABYTES = 110


async def memory(stack: RunningStack) -> AsyncIterator[Row]:
    """One row for each process; PostgreSQL's and Caddy's have no target."""
    for name, pid in sorted(stack.pids().items()):
        used = memory_megabytes(pid)
        if name.startswith(OURS):
            yield at_most(f"memory at rest, {name}", used, MOST_MEGABYTES, "MB")
        else:
            yield figure(f"memory at rest, {name}", used, "MB")
