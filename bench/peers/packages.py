"""JupyterHub, DockerSpawner and configurable-http-proxy from their packages, in an environment of their own."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PROXY = "configurable-http-proxy@5.3.0"
INSTALL_SECONDS = 600


class NotInstalled(Exception):
    """The packages cannot be had here; says why in one line."""


@dataclass(frozen=True, slots=True)
class Packages:
    """The programs below one directory."""

    home: Path

    @property
    def hub(self) -> Path:
        """JupyterHub."""
        return self.home / "venv" / "bin" / "jupyterhub"

    @property
    def proxy(self) -> Path:
        """configurable-http-proxy."""
        return self.home / "npm" / "node_modules" / ".bin" / "configurable-http-proxy"

    def install(self) -> None:
        """Install what is missing. Repeatable. Raises `NotInstalled`."""
        self.home.mkdir(parents=True, exist_ok=True)
        if not self.hub.exists():
            pip = self.home / "venv" / "bin" / "pip"
            _run([sys.executable, "-m", "venv", str(self.home / "venv")])
            _run([str(pip), "install", "--quiet", "--disable-pip-version-check", "--requirement", str(REQUIREMENTS)])
        if not self.proxy.exists():
            npm = shutil.which("npm")
            if npm is None:
                raise NotInstalled("there is no npm here, which configurable-http-proxy comes with")
            _run([npm, "install", "--no-audit", "--no-fund", "--prefix", str(self.home / "npm"), PROXY])

    def versions(self) -> str:
        """What was installed, for the table."""
        node = _run(["node", "--version"]).strip()
        listed = _run(
            [str(self.home / "venv" / "bin" / "pip"), "list", "--format=freeze", "--disable-pip-version-check"]
        )
        found = dict(line.split("==", 1) for line in listed.splitlines() if "==" in line)
        proxy = PROXY.partition("@")[2]
        python = f"JupyterHub {found['jupyterhub']}, DockerSpawner {found['dockerspawner']}"
        return f"{python}, configurable-http-proxy {proxy}, Node {node.lstrip('v')}"


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{command[0]}: {error}") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise NotInstalled(f"{Path(command[0]).name} failed: {lines[-1] if lines else done.returncode}")
    return done.stdout
