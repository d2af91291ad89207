"""A private installation of Spawner, in processes of its own, on ports and names of its own."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import httpx
import pytest

from app.core.settings.model import Settings
from deploy.stack import web
from deploy.stack.console import StepFailed, last_lines, wait_until
from deploy.stack.demo import find_token
from deploy.stack.engine import Engine, engine_url
from deploy.stack.environment import proxy_settings
from deploy.stack.inbox import Mail, read_mails
from deploy.stack.processes import Process, child
from deploy.stack.proxy import caddy_process
from deploy.stack.readiness import READY, readiness
from deploy.stack.rules import remove_rules
from deploy.stack.services import Services, private_services, redis_answers
from tests.support.ports import reserved_port
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parent.parent.parent
BINARIES = Path(sys.executable).parent

Mode = Literal["path", "host"]


@dataclass(slots=True)
class RunningStack:
    """Where the installation answers, and its processes, to be killed by tests."""

    public_url: str
    settings: dict[str, str]
    services: Services
    logs: Path
    engine: Engine
    worker_module: str = "workers"
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    parts: dict[str, tuple[Process, subprocess.Popen[bytes]]] = field(default_factory=dict)
    _exits: ExitStack = field(default_factory=ExitStack)

    @property
    def instance(self) -> str:
        """The label that its containers carry."""
        return self.settings["SPAWNER_INSTANCE"]

    def load_settings(self) -> Settings:
        """The settings as the installation's own processes read them."""
        values = {name.removeprefix("SPAWNER_").lower(): value for name, value in self.settings.items()}
        return Settings(_env_file=None, **values)  # type: ignore[arg-type]  # text, as from the environment

    def start(self, process: Process) -> subprocess.Popen[bytes]:
        """Run one process with the installation's settings until the stack ends."""
        with_settings = {**process.environment, **self.settings}
        described = replace(process, directory=ROOT, environment=with_settings)
        return self._exits.enter_context(child(described, self.logs / f"{process.name}.log"))

    def start_worker(self, name: str) -> subprocess.Popen[bytes]:
        """Start one more worker."""
        command = (sys.executable, "-m", self.worker_module)
        self.workers[name] = self.start(Process(name, command, ROOT, stop_seconds=30))
        return self.workers[name]

    def start_part(self, process: Process) -> None:
        """Start the API, the gateway or the proxy, by its name."""
        self.parts[process.name] = (process, self.start(process))

    def restart_part(self, name: str) -> None:
        """SIGKILL the API, the gateway or the proxy, and start it again."""
        process, running = self.parts[name]
        running.kill()
        running.wait(10)
        self.start_part(process)

    def kill_worker(self, name: str) -> None:
        """SIGKILL: the worker has no chance to say anything."""
        self.workers[name].send_signal(signal.SIGKILL)
        self.workers[name].wait(10)

    def pids(self) -> dict[str, int]:
        """The process ids of all parts, by their names; Caddy is `proxy`."""
        parts = {name: running.pid for name, (_, running) in self.parts.items()}
        workers = {name: running.pid for name, running in self.workers.items()}
        return {**parts, **workers, **self.services.children.pids()}

    def stop_redis(self) -> None:
        """Take Redis away, with all that it holds, until `start_redis`."""
        self.services.children.stop("redis")

    def start_redis(self) -> None:
        """Bring an empty Redis back at the same address."""
        self.services.children.start("redis")
        failure = partial(StepFailed, "redis does not come back")
        wait_until(partial(redis_answers, self.services.redis_url), 15, failure)

    def client(self) -> httpx.Client:
        """A client that knows `localhost` names and keeps cookies, as a browser."""
        return web.client(40)

    def read_mail(self, address: str) -> Mail:
        """The latest mail to an address; waits for one."""
        found: list[Mail] = []

        def arrived() -> bool:
            found[:] = [mail for mail in read_mails(self.services.maildir) if address in mail.to]
            return bool(found)

        wait_until(arrived, 60, lambda: StepFailed(f"no mail for {address}", self.logs / "worker-1.log"))
        return found[0]

    def read_token(self, address: str) -> str:
        """The token of the latest mail to an address; waits for one."""
        token = find_token(self.read_mail(address).links)
        assert token is not None
        return token

    def tail(self, lines: int = 15) -> str:
        """The end of each process's log, for the message of a test that fails."""
        ends = ((log.stem, last_lines(log, lines)) for log in sorted(self.logs.glob("*.log")))
        return "\n".join(f"--- {name}\n" + "\n".join(end) for name, end in ends)

    def sign_up(self, client: httpx.Client, address: str) -> dict[str, str]:
        """Sign up through the mail, and return the headers of an API client; `client` keeps the cookie."""
        asked = client.post(f"{self.public_url}/api/auth/signup", json={"email": address})
        assert asked.status_code == 200, asked.text
        body = {"token": self.read_token(address)}
        answer = client.post(f"{self.public_url}/api/auth/verify", json=body)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def remove_containers(self) -> None:
        """Take every container, network and rule of the installation away, behind its back."""
        for _ in self.engine.remove_labelled(f"spawner.instance={self.instance}"):
            pass
        remove_rules(self.instance)

    def containers(self) -> dict[str, str]:
        """This installation's containers in any state: their names, and the engine's ids of them."""
        listing = ["docker", "--host", self.engine.url, "ps", "--all", "--format", "{{.Names}} {{.ID}}"]
        listing += ["--filter", f"label=spawner.instance={self.instance}"]
        listed = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
        return dict(line.split() for line in listed.splitlines())


def make_settings(
    mode: Mode, instance: str, upstreams: Mapping[str, str], gateway_port: int, lease_seconds: int
) -> dict[str, str]:
    """Settings of an installation on free ports; API and gateway answer at `upstreams`, the gateway at a port too."""
    port = reserved_port()
    workspaces = f"http://127.0.0.1:{port}/{{route}}" if mode == "path" else f"http://{{route}}.apps.localhost:{port}"
    settings = {
        "SPAWNER_ENVIRONMENT": "development",
        "SPAWNER_INSTANCE": instance,
        "SPAWNER_PUBLIC_URL": f"http://localhost:{port}",
        "SPAWNER_WORKSPACE_URL": workspaces,
        "SPAWNER_TRUSTED_PROXIES": "127.0.0.1",
        "SPAWNER_DOCKER_URL": engine_url(os.environ),
        "SPAWNER_SECRET_KEY": "end-to-end-secret-0123456789-abcdefghij",
        "SPAWNER_NETWORK_RANGE": "10.216.0.0/16" if mode == "path" else "10.217.0.0/16",
        "SPAWNER_CATALOG": str(ROOT / "images" / "catalog.yaml"),
        "SPAWNER_LEASE_SECONDS": str(lease_seconds),
        "SPAWNER_RECONCILE_SECONDS": "1",
        "SPAWNER_DRAIN_SECONDS": "0",
        "SPAWNER_ORPHAN_SECONDS": "2",
        # Each is removed at the end, which takes the engine a fifth of a second.
        "SPAWNER_NETWORK_POOL": "8",
        # Load that a few accounts make in place of many.
        "SPAWNER_USER_CHANGES_PER_HOUR": "100000",
    }
    return {**settings, **proxy_settings(settings, upstreams, gateway_port)}


@contextmanager
def running_stack(
    mode: Mode,
    instance: str,
    logs: Path,
    *,
    lease_seconds: int = 5,
    worker_module: str = "workers",
    api_factory: str = "app.main:create_app",
    gateway_module: str = "app.gateway",
    changes: Mapping[str, str] | None = None,
    durable: bool = False,
) -> Iterator[RunningStack]:
    """Run a whole installation; at the end nothing of it is left, on the engine neither.

    `worker_module`, `api_factory` and `gateway_module` are other entry points of the same parts; `changes` go over its
    settings. `durable` makes the database write as safely as that of `make up`. The API listens at a port, the gateway
    at a Unix socket, and at a port for what cannot dial one.
    """
    with private_services(ROOT, durable=durable) as services, ExitStack() as exits:
        api_port, gateway_port = reserved_port(), reserved_port()
        # A socket's path has 107 bytes at most.
        sockets = exits.enter_context(tempfile.TemporaryDirectory(prefix="spawner-", dir="/tmp"))
        upstreams = {"api": f"127.0.0.1:{api_port}", "gateway": f"unix/{sockets}/gateway.sock"}
        settings = make_settings(mode, instance, upstreams, gateway_port, lease_seconds)
        settings |= {
            "SPAWNER_DATABASE_URL": services.database_url,
            "SPAWNER_REDIS_URL": services.redis_url,
            "SPAWNER_SMTP_URL": services.smtp_url,
            **(changes or {}),
        }
        environment = {**os.environ, **settings, "SPAWNER_DATABASE_OWNER_URL": services.database_owner_url}
        migrate = [sys.executable, "-m", "alembic", "upgrade", "head"]
        subprocess.run(migrate, cwd=ROOT, env=environment, check=True, capture_output=True)
        engine = exits.enter_context(closing(Engine(settings["SPAWNER_DOCKER_URL"])))
        stack = RunningStack(settings["SPAWNER_PUBLIC_URL"], settings, services, logs, engine, worker_module)
        exits.callback(stack.remove_containers)
        exits.enter_context(stack._exits)
        api = (str(BINARIES / "uvicorn"), api_factory, "--factory", "--port", str(api_port))
        quiet = ("--no-proxy-headers", "--no-access-log", "--timeout-graceful-shutdown", "5")
        stack.start_part(Process("api", (*api, *quiet), ROOT, answers=True))
        listen = ("--listen", upstreams["gateway"], "--listen", f"127.0.0.1:{gateway_port}")
        gateway = (sys.executable, "-m", gateway_module, *listen)
        stack.start_part(Process("gateway", gateway, ROOT, answers=True))
        stack.start_worker("worker-1")
        stack.start_worker("worker-2")
        stack.start_part(caddy_process(ROOT, logs / "caddy", settings))
        wait_until(partial(_ready, stack), PATIENCE, partial(StepFailed, "the stack is not ready", logs / "api.log"))
        yield stack


def _ready(stack: RunningStack) -> bool:
    return set(readiness(stack.settings).values()) == {READY}


def follow(client: httpx.Client, stack: RunningStack, path: str, headers: dict[str, str]) -> dict[str, object]:
    """Long-poll a job until it ends."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = client.get(f"{stack.public_url}{path}", params={"wait": 10}, headers=headers)
        job: dict[str, object] = answer.json()
        if job["state"] not in ("queued", "running"):
            return job
    pytest.fail(f"the job did not end: {job}")
