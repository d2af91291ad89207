"""Docker Engine: finding it, installing it where we may, and the few calls that the stack makes itself.

Workspaces are the workers' business; this is for images, and for `make clean`.
"""

import json
import os
import shutil
import ssl
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

import httpx

from deploy.stack import debian
from deploy.stack.console import Step, StepFailed, wait_until

LOCAL = Path("/var/run/docker.sock")
OLDEST_API = (1, 41)
INSTALL = (
    "Spawner runs workspaces on Docker Engine 20.10 or later, and there is none on this machine. Install it (on Debian "
    "or Ubuntu: `sudo apt-get install docker.io`, elsewhere see Docker's manual), make sure that your user may use "
    "/var/run/docker.sock (`sudo usermod -aG docker $USER`, then log in again), or point SPAWNER_DOCKER_URL or "
    "DOCKER_HOST to an engine, such as tcp://192.0.2.7:2375."
)


class EngineFailed(Exception):
    """The engine did not do what was asked; the text is the engine's own."""


class Engine:
    """A small client of the engine's HTTP API."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        transport: httpx.HTTPTransport | None = None
        base = "http://engine"
        if parts.scheme == "unix":
            transport = httpx.HTTPTransport(uds=parts.path)
        elif parts.scheme in ("tcp", "http", "https"):
            secure = parts.scheme == "https" or bool(os.environ.get("DOCKER_TLS_VERIFY"))
            base = f"{'https' if secure else 'http'}://{parts.netloc}"
            transport = httpx.HTTPTransport(verify=_certificates() if secure else False)
        else:
            raise StepFailed(f"{url} is no address of an engine: it begins with unix://, tcp:// or https://")
        self.url = url
        self._client = httpx.Client(transport=transport, base_url=base, timeout=httpx.Timeout(10, connect=5))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _json(self, method: str, path: str, *, timeout: float = 10, **options: Any) -> Any:
        try:
            answer = self._client.request(method, path, timeout=timeout, **options)
        except httpx.HTTPError as error:
            raise EngineFailed(str(error) or type(error).__name__) from None
        if answer.is_error:
            raise EngineFailed(_message(answer.text))
        return answer.json() if answer.content else None

    def version(self) -> tuple[str, tuple[int, int]]:
        """Return the engine's version and that of its API. Raises `EngineFailed`."""
        found = self._json("GET", "/version", timeout=5)
        major, minor = found["ApiVersion"].split(".")[:2]
        return found["Version"], (int(major), int(minor))

    def answers(self) -> bool:
        """Say whether the engine answers."""
        try:
            self.version()
        except EngineFailed:
            return False
        return True

    def image_labels(self, image: str) -> dict[str, str] | None:
        """Return an image's labels, or None if the engine does not have it."""
        try:
            answer = self._client.get(f"/images/{quote(image, safe='/:@')}/json")
        except httpx.HTTPError as error:
            raise EngineFailed(str(error)) from None
        if answer.status_code == 404:
            return None
        if answer.is_error:
            raise EngineFailed(_message(answer.text))
        return answer.json()["Config"].get("Labels") or {}

    def pull(self, image: str, report: Callable[[str], None], seconds: float) -> None:
        """Pull an image. `seconds` is how long the registry may stay silent. Raises `EngineFailed`."""
        name, _, tag = image.rpartition(":") if ":" in image.rsplit("/", 1)[-1] else (image, "", "latest")
        self._stream("/images/create", {"fromImage": name, "tag": tag}, None, report, seconds)

    def import_root(self, image: str, archive: IO[bytes], report: Callable[[str], None]) -> None:
        """Make an image from a tar of a root file system."""
        name, _, tag = image.rpartition(":")
        parameters = {"fromSrc": "-", "repo": name, "tag": tag, "changes": 'CMD ["bash"]'}
        self._stream("/images/create", parameters, archive, report, 300)

    def build(
        self,
        image: str,
        context: IO[bytes],
        labels: Mapping[str, str],
        report: Callable[[str], None],
        **options: str,
    ) -> None:
        """Build a tar of a context with its Dockerfile. Raises `EngineFailed` with what failed in it.

        `options` are further ones of the engine's API, such as `target`.
        """
        parameters = {"t": image, "rm": "1", "forcerm": "1", "labels": json.dumps(dict(labels)), **options}
        self._stream("/build", parameters, context, report, 900)

    def _stream(
        self,
        path: str,
        parameters: Mapping[str, str],
        body: IO[bytes] | None,
        report: Callable[[str], None],
        silence: float,
    ) -> None:
        """Post, and pass each line of the engine's progress on."""
        timeout = httpx.Timeout(silence, connect=5)
        headers = {"Content-Type": "application/x-tar"} if body is not None else {}
        content = iter(lambda: body.read(1 << 20), b"") if body is not None else None
        try:
            with self._client.stream(
                "POST", path, params=parameters, content=content, headers=headers, timeout=timeout
            ) as answer:
                if answer.is_error:
                    raise EngineFailed(_message(answer.read().decode(errors="replace")))
                for line in filter(str.strip, answer.iter_lines()):
                    entry = json.loads(line)
                    if "error" in entry:
                        raise EngineFailed(entry["error"].strip())
                    if text := (entry.get("stream") or entry.get("status") or "").strip():
                        report(text)
        except httpx.TimeoutException:
            raise EngineFailed(f"nothing was heard for {silence:.0f} s") from None
        except httpx.HTTPError as error:
            raise EngineFailed(str(error)) from None

    def list_labelled(self, label: str) -> tuple[list[dict[str, Any]], list[str]]:
        """List the containers with a label in any state, as the engine describes them, and the names of networks."""
        filters = {"filters": json.dumps({"label": [label]})}
        containers: list[dict[str, Any]] = self._json("GET", "/containers/json", params={**filters, "all": "1"})
        return containers, [network["Name"] for network in self._json("GET", "/networks", params=filters)]

    def remove_labelled(self, label: str) -> Iterator[str]:
        """Remove every container, network and volume with a label, and name each one as it goes."""
        filters = {"filters": json.dumps({"label": [label]})}
        for item in self._json("GET", "/containers/json", params={**filters, "all": "1"}):
            self._json("DELETE", f"/containers/{item['Id']}", params={"force": "1", "v": "1"}, timeout=60)
            yield f"container {item['Names'][0].lstrip('/')}"
        for item in self._json("GET", "/networks", params=filters):
            self._json("DELETE", f"/networks/{item['Id']}", timeout=60)
            yield f"network {item['Name']}"
        for item in self._json("GET", "/volumes", params=filters)["Volumes"] or []:
            self._json("DELETE", f"/volumes/{item['Name']}", timeout=60)
            yield f"volume {item['Name']}"


def _certificates() -> ssl.SSLContext:
    """Read the client certificate where Docker's own client does."""
    directory = Path(os.environ.get("DOCKER_CERT_PATH", "") or Path.home() / ".docker")
    authority = directory / "ca.pem"
    context = ssl.create_default_context(cafile=str(authority) if authority.is_file() else None)
    if (directory / "cert.pem").is_file():
        context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip() or "the engine refused without saying why"


def engine_url(given: Mapping[str, str]) -> str:
    """Choose the engine's address: SPAWNER_DOCKER_URL, then DOCKER_HOST, then the local socket."""
    return given.get("SPAWNER_DOCKER_URL") or given.get("DOCKER_HOST") or f"unix://{LOCAL}"


def ensure_engine(given: Mapping[str, str], log: Path, current: Step) -> Engine:
    """Find an engine that answers; where none was named, install or start one if we may. Raises `StepFailed`.

    `given` is the environment with `.env` in it; a daemon that is started by hand writes to `log` and outlives us.
    """
    url = engine_url(given)
    engine = Engine(url)
    if not engine.answers():
        if url != f"unix://{LOCAL}":
            raise StepFailed(f"no Docker Engine answers at {url}, which SPAWNER_DOCKER_URL or DOCKER_HOST names")
        _bring_up(engine, log, current)
    version, api = engine.version()
    if api < OLDEST_API:
        raise StepFailed(f"Docker Engine {version} is too old: Spawner needs 20.10 or later")
    current.detail = f"Docker Engine {version} at {url}"
    return engine


def next_action(*, socket: bool, allowed: bool, installed: bool, root: bool, installable: bool) -> str:
    """Decide what to do about a local engine that does not answer: `join`, `start`, `install` or `explain`.

    `socket`: there is one; `allowed`: this user may write to it; `installed`: there is a dockerd on PATH; `root`: we
    are; `installable`: this is Debian or its kin.
    """
    if socket and not allowed:
        return "join"
    if installed and root:
        return "start"
    if root and installable:
        return "install"
    return "explain"


def _bring_up(engine: Engine, log: Path, current: Step) -> None:
    exists = LOCAL.exists() and stat.S_ISSOCK(LOCAL.stat().st_mode)
    installed = shutil.which("dockerd") is not None
    action = next_action(
        socket=exists,
        allowed=os.access(LOCAL, os.W_OK),
        installed=installed,
        root=os.getuid() == 0,
        installable=debian.can_install(),
    )
    if action == "join":
        raise StepFailed(f"your user may not use {LOCAL}: run `sudo usermod -aG docker $USER`, then log in again")
    if action == "explain":
        running = (
            "dockerd is installed but does not run: start it with `sudo systemctl start docker`." if installed else ""
        )
        raise StepFailed(running or INSTALL)
    if action == "install":
        current.announce("there is none on this machine; installing docker.io with apt-get")
        confined = Path("/sys/module/apparmor/parameters/enabled")
        wants_apparmor = confined.is_file() and confined.read_text().startswith("Y")
        debian.install("docker.io", *(["apparmor"] if wants_apparmor else []))
    if not engine.answers():
        _start_daemon(engine, log, current)


def _start_daemon(engine: Engine, log: Path, current: Step) -> None:
    """Start dockerd through systemd where it runs the machine, else by hand in a session of its own."""
    daemon: subprocess.Popen[bytes] | None = None
    if Path("/run/systemd/system").is_dir():
        current.announce("starting dockerd with systemctl")
        subprocess.run(["systemctl", "start", "docker"], capture_output=True, check=False)
    else:
        current.announce("starting dockerd")
        with log.open("ab") as output:
            daemon = subprocess.Popen(
                ["dockerd"], cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def ready() -> bool:
        if daemon is not None and daemon.poll() is not None:
            raise StepFailed("dockerd ended at once", log)
        return engine.answers()

    wait_until(ready, 60, lambda: StepFailed("dockerd does not answer after 60 s", log), pause=0.25)
