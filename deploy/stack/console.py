"""Steps on a terminal, one line each: a tick, what was done, how long it took."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = threading.Lock()
_COLOURS = {"✓": "32", "✗": "31", "…": "2"}


class StepFailed(Exception):
    """A step ended badly: `reason` is a sentence for the person at the terminal, `log` the file that says more."""

    def __init__(self, reason: str, log: Path | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.log = log
        self.shown = False


class Step:
    """What a running step may add to its line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.detail = ""

    def announce(self, text: str) -> None:
        """Say at once that something slow has begun."""
        say("…", f"{self.name}: {text}")


def say(mark: str, text: str) -> None:
    """Print one line; safe from several threads."""
    if sys.stdout.isatty() and mark in _COLOURS:
        mark = f"\033[{_COLOURS[mark]}m{mark}\033[0m"
    with _LOCK:
        print(f"  {mark} {text}", flush=True)


@contextmanager
def step(name: str) -> Iterator[Step]:
    """Run one step and print its line. A `StepFailed` is printed with the end of its log and passed on."""
    current = Step(name)
    started = time.monotonic()
    try:
        yield current
    except StepFailed as failure:
        if not failure.shown:
            say("✗", f"{name}: {failure.reason}")
            if failure.log is not None:
                for line in last_lines(failure.log):
                    say(" ", f"  | {line}")
                say(" ", f"  log: {failure.log}")
        failure.shown = True
        raise
    detail = f"  {current.detail}" if current.detail else ""
    say("✓", f"{name:<16}{time.monotonic() - started:6.1f} s{detail}")


def last_lines(path: Path, count: int = 12) -> list[str]:
    """Return the end of a text file, or nothing if it cannot be read."""
    try:
        with path.open(errors="replace") as file:
            return [line.rstrip() for line in deque(file, maxlen=count)]
    except OSError:
        return []


def wait_until(
    ready: Callable[[], bool], seconds: float, failure: Callable[[], StepFailed], pause: float = 0.05
) -> None:
    """Ask `ready` again and again until it is true; raise what `failure` makes when the time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise failure()
        time.sleep(pause)
