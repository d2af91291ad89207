"""A process that measures sections one after the other in one installation, and tells each row as a line of JSON.

It is a process of its own so that nothing that goes wrong in it, not even one that hangs, takes other rows along.
"""

import asyncio
import json
import os
import signal
import sys
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import uvloop

from bench.sections import SECTIONS, Section
from tests.support.stack import RunningStack, running_stack

# As `make up` runs it, where the tests' installation is more eager.
LIKE_MAKE_UP = {"SPAWNER_RECONCILE_SECONDS": "10", "SPAWNER_ORPHAN_SECONDS": "30", "SPAWNER_NETWORK_POOL": "40"}


# The parent's. Whatever else is printed, by this process or what it starts, goes to the log.
_LINES = os.fdopen(os.dup(sys.stdout.fileno()), "w")


def tell(**said: object) -> None:
    """One line for the parent."""
    print(json.dumps(said), file=_LINES, flush=True)


async def measure(sections: list[Section], stack: RunningStack | None) -> None:
    """Each section until one fails: what it leaves behind may disturb the next."""
    for section in sections:
        tell(begin=section.name)
        async for row in section.rows(stack):
            tell(row=asdict(row))
        tell(end=section.name)


def run(instance: str, logs: Path, names: list[str]) -> None:
    """Start what the sections need, and measure them."""
    by_name = {section.name: section for section in SECTIONS}
    sections = [by_name[name] for name in names]
    wanted = sections[0].installation
    installed = (
        running_stack(
            wanted.mode,
            instance,
            logs,
            lease_seconds=15,
            worker_module=wanted.worker_module,
            changes={**LIKE_MAKE_UP, **wanted.changes},
            durable=wanted.durable,
        )
        if wanted
        else nullcontext()
    )
    with installed as stack:
        try:
            uvloop.run(measure(sections, stack))
        finally:
            if stack is not None:
                _kill(stack)


def _kill(stack: RunningStack) -> None:
    """End what would finish its work first: nothing of it is kept."""
    for name, pid in stack.pids().items():
        if name.startswith(("api", "gateway", "worker")):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _told_to_stop(*_: object) -> NoReturn:
    raise SystemExit("the time is over")


def main() -> None:
    """Say why it failed in one line; the traceback goes to the log."""
    signal.signal(signal.SIGTERM, _told_to_stop)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    instance, logs, *names = sys.argv[1:]
    try:
        run(instance, Path(logs), names)
    except (Exception, asyncio.CancelledError) as error:
        tell(failed=f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    main()
