"""This machine's own dockerd: stopped for a while, or killed and started again with every container alive."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from deploy.stack.console import StepFailed, wait_until
from deploy.stack.engine import Engine
from tests.chaos.arena import Skipped

PID_FILE = Path("/var/run/docker.pid")


def own_daemon(engine: Engine) -> int:
    """The pid of the dockerd behind a local socket; raises `Skipped` where it is not ours to touch."""
    found = subprocess.run(["pidof", "-s", "dockerd"], capture_output=True, text=True, check=False).stdout.strip()
    if not found or os.getuid() != 0 or not engine.url.startswith("unix://"):
        raise Skipped("there is no dockerd here that we may stop")
    return int(found)


def restart(engine: Engine) -> None:
    """SIGKILL, then the same command again, told to adopt what runs: containers live on, those of others too."""
    if Path("/run/systemd/system").is_dir():
        raise Skipped("systemd runs dockerd here")
    daemon = own_daemon(engine)
    command = [part for part in Path(f"/proc/{daemon}/cmdline").read_text().split("\0") if part]
    if "--live-restore" not in command:
        command.append("--live-restore")
    output = Path(f"/proc/{daemon}/fd/1").readlink()
    os.kill(daemon, signal.SIGKILL)
    while _state(daemon) not in ("", "Z"):
        time.sleep(0.02)
    PID_FILE.unlink(missing_ok=True)
    with (output if output.is_file() else Path(os.devnull)).open("ab") as log:
        subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    wait_until(engine.answers, 60, lambda: StepFailed("dockerd does not come back"))


def _state(pid: int) -> str:
    """One letter as `ps` shows it; empty where there is no such process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""
