"""One long-running process: how it is described, and how a test runs it as a child that cannot outlive it."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1
ANSWERS_FIRST = ("nice", "-n", "-5")


@dataclass(frozen=True, slots=True)
class Process:
    """A command to keep running. Those of a lower `stage` start earlier and stop later.

    `user` is an OS user to become, `fingerprint` what must make it restart when it changes, though its command did not.
    `answers`: requests wait for it. Started by root, it gets three times the processor time of the workers and of the
    engine, which launch meanwhile.
    """

    name: str
    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: int = 10
    restart: bool = True
    stage: int = 1
    fingerprint: str = ""
    answers: bool = False

    @property
    def prioritised_command(self) -> tuple[str, ...]:
        """The command, behind `nice` where that is permitted."""
        return (*ANSWERS_FIRST, *self.command) if self.answers and os.getuid() == 0 else self.command


def _die_with_parent(stop: signal.Signals) -> Callable[[], None] | None:
    """Make the kernel send `stop` when the parent dies, even by SIGKILL."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, int(stop), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return arm


@contextmanager
def child(process: Process, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends; it ends too when this one dies in any way. Its output goes to `log`."""
    identity = pwd.getpwnam(process.user) if process.user else None
    with log.open("ab") as output:
        running = subprocess.Popen(
            process.prioritised_command,
            cwd=process.directory,
            env={**os.environ, **process.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=identity.pw_uid if identity else None,
            group=identity.pw_gid if identity else None,
            extra_groups=[] if identity else None,
            preexec_fn=_die_with_parent(process.stop_signal),
        )
    try:
        yield running
    finally:
        running.send_signal(process.stop_signal)
        try:
            running.wait(process.stop_seconds)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
