"""This machine's own dockerd: stopped for a while, or killed and started again with every container alive."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from deploy.stack.console import StepFailed, wait_until
from deploy.stack.engine import Engine
from tests.chaos.cluster import Skipped

PID_FILES = (Path("/var/run/docker.pid"), Path("/var/run/docker/containerd/containerd.pid"))


def own_daemon(engine: Engine) -> int:
    """The pid of the dockerd behind a local socket; raises `Skipped` where it is not ours to touch."""
    found = subprocess.run(["pidof", "-s", "dockerd"], capture_output=True, text=True, check=False).stdout.strip()
    if not found or os.getuid() != 0 or not engine.url.startswith("unix://"):
        raise Skipped("there is no dockerd here that we may stop")
    return int(found)


def restart(engine: Engine) -> None:
    """SIGKILL, then the same command again, told to adopt what runs: containers live on, those of others too.

    However this ends, a daemon that does not come up is started again until one does.
    """
    if Path("/run/systemd/system").is_dir():
        raise Skipped("systemd runs dockerd here")
    daemon = own_daemon(engine)
    command = [part for part in Path(f"/proc/{daemon}/cmdline").read_text().split("\0") if part]
    if "--live-restore" not in command:
        command.append("--live-restore")
    output = Path(f"/proc/{daemon}/fd/1").readlink()
    # Its containerd would die a little later: a new daemon that finds it takes it for its own and waits in vain.
    family = [daemon, *_children(daemon)]
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while any(_state(pid) not in ("", "Z") for pid in family):
        time.sleep(0.02)
    started: list[subprocess.Popen[bytes]] = []
    with (output if output.is_file() else Path(os.devnull)).open("ab") as log:

        def answers() -> bool:
            if not started or started[-1].poll() is not None:
                for pid_file in PID_FILES:
                    pid_file.unlink(missing_ok=True)
                started.append(
                    subprocess.Popen(
                        command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                    )
                )
            return engine.answers()

        wait_until(answers, 120, lambda: StepFailed("dockerd does not come back"))


def _children(pid: int) -> list[int]:
    """Those of all its threads."""
    found = (task / "children" for task in Path(f"/proc/{pid}/task").iterdir())
    return [int(child) for children in found for child in children.read_text().split()]


def _state(pid: int) -> str:
    """One letter as `ps` shows it; empty where there is no such process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""
