"""One installation by Docker Compose, on addresses and names of its own, and a person who uses it over https."""

import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect
from websockets.typing import Origin

from deploy.compose.images import ensure_images
from deploy.compose.plugin import docker_configuration
from deploy.stack.console import Step, StepFailed, wait_until
from deploy.stack.demo import find_token
from deploy.stack.engine import Engine, engine_url
from deploy.stack.inbox import find_links
from deploy.stack.layout import open_layout
from deploy.stack.rules import remove_rules
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
DOMAIN = "spawner.lan"
PUBLIC_URL = f"https://{DOMAIN}"
# What an operator writes. Names that no public authority knows, a setting that compose.yaml does not name.
ENV = f"""\
SPAWNER_DOMAIN={DOMAIN}
SPAWNER_WORKSPACE_DOMAIN=workspaces.lan
SPAWNER_CERTIFICATES=local_certs
SPAWNER_SMTP_URL_FILE=smtp_url
SPAWNER_DOCS=closed
"""
# Whose file the mail server's address is: nobody of compose.yaml.
OPERATOR = 4321
# Nothing listens there: what goes through a proxy of the environment fails.
DEAD_PROXY = "http://127.0.0.1:9"
# A mount of compose.yaml, which the engine makes where systemd does not.
RESOLVERS = Path("/run/systemd/resolve")
AUTHORITY = "/var/lib/caddy/caddy/pki/authorities/local/root.crt"
# What arq logs when a worker takes a message about a workspace.
DRIVEN = '"event": "job_attempt_ended"'
PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}


class _AtCaddy(httpx.HTTPTransport):
    """Reaches every name at Caddy's address, as the site's name server would say."""

    def __init__(self, address: str, trusted: ssl.SSLContext) -> None:
        super().__init__(verify=trusted)
        self._address = address

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        name = request.url.host
        return super().handle_request(
            httpx.Request(
                request.method,
                request.url.copy_with(host=self._address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": name},
            )
        )


@dataclass(frozen=True, slots=True)
class Browser:
    """A client that keeps cookies and finds every name at Caddy's address."""

    client: httpx.Client
    address: str
    trusted: ssl.SSLContext

    def echo(self, url: str, text: str) -> str:
        """Send a text over a websocket of a page, and return what comes back."""
        page = self.client.build_request("GET", url)
        with socket.create_connection((self.address, 443), timeout=40) as connection:
            socket_of_page = connect(
                f"wss://{page.url.host}/ws",
                sock=connection,
                ssl=self.trusted,
                server_hostname=page.url.host,
                origin=Origin(f"https://{page.url.host}"),
                additional_headers={"Cookie": page.headers["cookie"]},
                proxy=None,
            )
            with socket_of_page as opened:
                opened.send(text)
                return str(opened.recv(timeout=40))


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in, at a browser, and the headers of an API client of theirs."""

    browser: Browser
    headers: dict[str, str]

    @property
    def client(self) -> httpx.Client:
        return self.browser.client

    def restart(self) -> str:
        """Ask for a new container of the default workspace; returns where the job tells of itself."""
        answer = self.client.post(f"{PUBLIC_URL}/api/container/restart", headers=self.headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["status_url"])

    def follow(self, path: str) -> dict[str, Any]:
        """Wait until a job has ended."""
        found: dict[str, Any] = {}

        def ended() -> bool:
            answer = self.client.get(f"{PUBLIC_URL}{path}", params={"wait": 10}, headers=self.headers)
            found.update(answer.json())
            return found["state"] not in ("queued", "running")

        wait_until(ended, PATIENCE, lambda: StepFailed(f"the job did not end: {found}"))
        return found

    def launch(self) -> str:
        """Launch the default workspace, and return where it answers."""
        answer = self.client.post(f"{PUBLIC_URL}/api/container/launch/hello", headers=self.headers).json()
        if answer["job"]:
            job = self.follow(answer["status_url"])
            assert job["state"] == "succeeded", job
        return str(answer["service_url"])

    def open(self, url: str) -> httpx.Response:
        """Go to a page as a browser does."""
        return self.client.get(url, headers=PAGE, follow_redirects=True)


@dataclass(frozen=True, slots=True)
class Project:
    """An installation's folder, how to call compose there, and where Caddy listens."""

    folder: Path
    environment: dict[str, str]
    engine: Engine

    @property
    def instance(self) -> str:
        return self.environment["SPAWNER_INSTANCE"]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `docker compose …` as the operator would."""
        command = ["docker", "compose", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )

    def compose(self, *arguments: str) -> str:
        """The same, which must succeed; returns what it says. Raises `StepFailed`."""
        done = self.run(*arguments)
        if done.returncode:
            raise StepFailed(f"`docker compose {' '.join(arguments)}` failed: {done.stderr}\n{self.logs()}")
        return done.stdout

    def logs(self) -> str:
        """The ends of everybody's logs, for the message of a test that fails."""
        return self.run("logs", "--no-color", "--tail", "8").stdout

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """What the engine knows of the project's containers, or of those of one service."""
        names = self.compose("ps", "--all", "--quiet", *([service] if service else [])).split()
        inspected = subprocess.run(["docker", "inspect", *names], capture_output=True, text=True, check=True).stdout
        found: list[dict[str, Any]] = json.loads(inspected)
        return found

    @contextmanager
    def browser(self) -> Iterator[Browser]:
        """A browser that trusts the authority of this installation's Caddy, and no other."""
        authority = self.folder / "authority.crt"

        def copied() -> bool:
            self.run("cp", f"caddy:{AUTHORITY}", str(authority))
            return authority.is_file()

        wait_until(copied, PATIENCE, lambda: StepFailed(f"Caddy makes no authority\n{self.logs()}"), pause=0.3)
        trusted = ssl.create_default_context(cafile=str(authority))
        address = self.environment["SPAWNER_ADDRESS"]
        with httpx.Client(transport=_AtCaddy(address, trusted), timeout=40, trust_env=False) as client:
            yield Browser(client, address, trusted)

    def wait_ready(self, browser: Browser, workers: int) -> None:
        """Wait until the API says through Caddy that all it needs is there, and so many workers."""
        heard = "nothing"

        def ready() -> bool:
            nonlocal heard
            try:
                answer = browser.client.get(f"{PUBLIC_URL}/readyz")
            except httpx.TransportError as error:
                heard = repr(error)
                return False
            heard = answer.text
            return answer.status_code == 200 and answer.json()["workers"] == workers

        wait_until(ready, PATIENCE, lambda: StepFailed(f"not ready: {heard}\n{self.logs()}"), pause=0.3)

    def unhealthy(self) -> dict[str, str]:
        """The containers whose own check has not said yet that they are well, and what it said last."""
        states = {item["Name"]: item["State"].get("Health") for item in self.containers()}
        return {
            name: str(health["Log"][-1:]) for name, health in states.items() if health and health["Status"] != "healthy"
        }

    def sign_up(self, browser: Browser, address: str) -> Person:
        """Sign up with the link that the mail catcher got."""
        asked = browser.client.post(f"{PUBLIC_URL}/api/auth/signup", json={"email": address})
        assert asked.status_code == 200, asked.text
        found = ""

        def arrived() -> bool:
            nonlocal found
            found = self.compose("exec", "-T", "mail", "inbox")
            return address in found

        wait_until(arrived, PATIENCE, lambda: StepFailed(f"no mail for {address}\n{self.logs()}"), pause=0.3)
        token = find_token(find_links(found[found.index(address) :]))
        answer = browser.client.post(f"{PUBLIC_URL}/api/auth/verify", json={"token": token})
        assert answer.status_code == 200, answer.text
        return Person(browser, {"Authorization": f"Bearer {answer.json()['access_token']}"})

    def drivers(self) -> set[str]:
        """The workers that a job was in the hands of, by what they log."""
        names = [item["Name"] for item in self.containers("worker")]
        logs = {
            name: subprocess.run(["docker", "logs", name], capture_output=True, text=True, check=True) for name in names
        }
        return {name for name, log in logs.items() if DRIVEN in log.stderr}

    def workspaces(self) -> dict[str, str]:
        """The workspaces' containers: their names, and when each was started."""
        containers, _ = self.engine.list_labelled(f"spawner.instance={self.instance}")
        return {item["Names"][0]: f"{item['Id']} {item['State']}" for item in containers}

    def remove(self) -> None:
        """Leave nothing of it on the engine but images."""
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "10")
        for label in ("spawner.instance", "com.docker.compose.project"):
            for _ in self.engine.remove_labelled(f"{label}={self.instance}"):
                pass
            assert self.engine.list_labelled(f"{label}={self.instance}") == ([], [])
        remove_rules(self.instance)


def copy_clone(target: Path) -> None:
    """Copy what a clone has: what git knows of, or would."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


@contextmanager
def compose_project(directory: Path) -> Iterator[Project]:
    """Prepare an installation; at the end nothing of it is left. Its images are made before the tests begin."""
    layout = open_layout(ROOT)
    folder = directory / "clone"
    copy_clone(folder)
    (folder / ".env").write_text(ENV)
    (folder / "smtp_url").write_text("smtp://mail:1025\n")
    (folder / "smtp_url").chmod(0o600)
    if os.getuid() == 0:
        os.chown(folder / "smtp_url", OPERATOR, OPERATOR)
    client = directory / "client"
    environment = docker_configuration(layout, client)
    (client / "config.json").write_text(
        json.dumps({"proxies": {"default": {"httpProxy": DEAD_PROXY, "httpsProxy": DEAD_PROXY}}})
    )
    with closing(Engine(engine_url(os.environ))) as engine:
        # What keeps it apart from others on this machine, and the images of a machine without a registry.
        subnet = f"127.{secrets.randbelow(200) + 10}.{secrets.randbelow(250)}"
        environment |= ensure_images(engine, layout, Step("Compose images"))
        environment |= {
            "COMPOSE_FILE": "compose.yaml:deploy/compose/local.yaml",
            "SPAWNER_INSTANCE": f"c{secrets.token_hex(4)}",
            "SPAWNER_ADDRESS": f"{subnet}.1",
            "SPAWNER_LOOPBACK": f"{subnet}.2",
            "SPAWNER_NETWORK_RANGE": "10.221.0.0/16",
        }
        project = Project(folder, environment, engine)
        resolvers = RESOLVERS.exists()
        try:
            yield project
        finally:
            project.remove()
            if not resolvers and RESOLVERS.exists():
                RESOLVERS.rmdir()
