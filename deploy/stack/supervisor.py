"""The supervisor that keeps the stack's processes running: its configuration and its remote control."""

import hashlib
import http.client
import os
import shlex
import subprocess
import xmlrpc.client  # nosec B411 # what answers is our own supervisor, at a socket of our own
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from deploy.stack.console import StepFailed, wait_until
from deploy.stack.layout import Layout, write_private
from deploy.stack.processes import Process

RUNNING = "RUNNING"
_BROKEN = ("FATAL", "BACKOFF", "EXITED", "UNKNOWN")


@dataclass(frozen=True, slots=True)
class State:
    """What the supervisor says of one process. `since` is in seconds since the epoch."""

    name: str
    state: str
    pid: int
    since: int
    exit_status: int


def render(layout: Layout, processes: Sequence[Process]) -> str:
    """Write the supervisor's configuration; nothing starts by itself, `make up` starts in order."""
    head = [
        "[supervisord]",
        f"logfile={_text(layout.log('supervisor'))}",
        "logfile_maxbytes=5MB",
        "logfile_backups=3",
        f"pidfile={_text(layout.state / 'supervisord.pid')}",
        f"directory={_text(layout.root)}",
        "nocleanup=true",
        *(["user=root"] if os.getuid() == 0 else []),
        "[unix_http_server]",
        f"file={_text(layout.run / 'supervisor.sock')}",
        "chmod=0600",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
    ]
    return "\n".join(head + [line for item in processes for line in _program(layout, item)]) + "\n"


def _program(layout: Layout, process: Process) -> list[str]:
    """One program. The digest makes its section differ when its fingerprint does, and so restarts it alone."""
    digest = hashlib.sha256(repr((process.fingerprint, sorted(process.environment.items()))).encode()).hexdigest()[:16]
    variables = {**process.environment, "STACK_FINGERPRINT": digest}
    return [
        f"[program:{process.name}]",
        f"command={_text(shlex.join(process.prioritised_command))}",
        f"directory={_text(process.directory)}",
        "environment=" + ",".join(f'{name}="{_text(value)}"' for name, value in variables.items()),
        *([f"user={process.user}"] if process.user else []),
        f"priority={process.stage}",
        "autostart=false",
        f"autorestart={'true' if process.restart else 'false'}",
        f"startsecs={1 if process.restart else 0}",
        "startretries=10",
        f"stopsignal={process.stop_signal.name.removeprefix('SIG')}",
        f"stopwaitsecs={process.stop_seconds}",
        # PostgreSQL's children lead groups of their own and must hear of a stop from their parent alone.
        f"stopasgroup={'true' if process.user is None else 'false'}",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={_text(layout.log(process.name))}",
        "stdout_logfile_maxbytes=5MB",
        "stdout_logfile_backups=3",
    ]


def _text(value: object) -> str:
    """Escape what the configuration's own expansion would read."""
    return str(value).replace("%", "%%")


class Supervisor:
    """The remote control of one clone's supervisor, through its private socket."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._socket = layout.run / "supervisor.sock"

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy, method)(*arguments)
        finally:
            transport.close()

    def is_up(self) -> bool:
        """Say whether the supervisor answers."""
        try:
            return bool(self._call("supervisor.getState")["statename"] == RUNNING)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False

    def start(self) -> None:
        """Start the supervisor in the background, without the settings of this shell. Repeatable."""
        if self.is_up():
            return
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("SPAWNER_", "MAKE", "MFLAGS"))
        }
        command = [
            str(self._layout.python),
            "-m",
            "supervisor.supervisord",
            "-c",
            str(self._layout.state / "supervisord.conf"),
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        log = self._layout.log("supervisor")
        if done.returncode:
            raise StepFailed(f"the supervisor did not start: {(done.stderr or done.stdout).strip()}", log)
        wait_until(self.is_up, 60, lambda: StepFailed("the supervisor does not answer", log))

    def configure(self, processes: Sequence[Process]) -> None:
        """Replace the configuration file; `apply` makes the supervisor follow it."""
        write_private(self._layout.state / "supervisord.conf", render(self._layout, processes))

    def apply(self, names: Iterable[str] | None = None) -> list[str]:
        """Follow the configuration file for the programs named, or for all; return those that were replaced.

        A changed program is stopped and known anew, an unchanged one is left alone.
        """
        added, changed, removed = self._call("supervisor.reloadConfig")[0]
        wanted = set(names) if names is not None else {*added, *changed, *removed}
        for name in wanted & {*changed, *removed}:
            self._call("supervisor.stopProcessGroup", name)
            self._call("supervisor.removeProcessGroup", name)
        for name in wanted & {*added, *changed}:
            self._call("supervisor.addProcessGroup", name)
        return sorted(wanted & set(changed))

    def ensure_started(self, name: str) -> bool:
        """Start a process that is not running; say whether that was needed. Waiting is the caller's."""
        if self.states()[name].state in (RUNNING, "STARTING"):
            return False
        try:
            self._call("supervisor.startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise StepFailed(f"{name} did not start: {fault.faultString}", self._layout.log(name)) from None
        return True

    def wait_running(self, names: Sequence[str], seconds: float = 20) -> None:
        """Wait until all run; raise `StepFailed` naming the first that keeps ending."""

        def ready() -> bool:
            states = self.states()
            for name in names:
                if states[name].state in _BROKEN:
                    raise StepFailed(f"{name} ends as soon as it starts", self._layout.log(name))
            return all(states[name].state == RUNNING for name in names)

        def late() -> StepFailed:
            states = self.states()
            name = next((name for name in names if states[name].state != RUNNING), names[0])
            return StepFailed(f"{name} did not start in {seconds:.0f} s", self._layout.log(name))

        wait_until(ready, seconds, late)

    def states(self) -> dict[str, State]:
        """Every process that the supervisor knows, by name."""
        found = self._call("supervisor.getAllProcessInfo")
        return {
            item["name"]: State(item["name"], item["statename"], item["pid"], item["start"], item["exitstatus"])
            for item in found
        }

    def shutdown(self, seconds: float = 90) -> bool:
        """Stop every process in reverse order, then the supervisor; say whether it was running."""
        if not self.is_up():
            return False
        self._call("supervisor.shutdown")
        pid = self._layout.state / "supervisord.pid"

        def ended() -> bool:
            return not self.is_up() and not pid.exists()

        wait_until(
            ended, seconds, lambda: StepFailed(f"it did not end in {seconds:.0f} s", self._layout.log("supervisor"))
        )
        return True
