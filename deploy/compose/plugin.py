"""Docker Compose: found, or taken from Debian, for tests on machines without it."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy.stack import debian
from deploy.stack.console import Step, StepFailed
from deploy.stack.layout import Layout

# The oldest release of Debian that has version 2, statically linked: it runs on older ones, too.
RELEASE = "trixie"
INSTALL = (
    "there is no Docker Compose 2.24 or later here: install it (Debian 13: docker-compose, Ubuntu: docker-compose-v2)"
)
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
OLDEST = (2, 24)


def own_plugin(layout: Layout) -> Path:
    """Where a plugin of this clone's own is, if it has one."""
    return layout.state / "bin" / "docker-compose"


def compose_version(command: list[str]) -> tuple[int, int]:
    """Ask a command for its version; (0, 0) if there is none."""
    try:
        said = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False).stdout
        major, minor = said.strip().removeprefix("v").split(".")[:2]
        return int(major), int(minor)
    except (OSError, ValueError):
        return 0, 0


def ensure_compose(layout: Layout, current: Step) -> None:
    """Find `docker compose`, or unpack Debian's plugin for this clone alone. Raises `StepFailed`."""
    plugin = own_plugin(layout)
    if compose_version(["docker", "compose"]) >= OLDEST:
        plugin.unlink(missing_ok=True)
    elif compose_version([str(plugin)]) < OLDEST:
        if not debian.can_install():
            raise StepFailed(INSTALL)
        current.announce(f"getting Docker Compose from Debian {RELEASE}")
        debian.install("debian-archive-keyring")
        with tempfile.TemporaryDirectory(prefix="spawner-compose-", dir="/var/tmp") as directory:  # nosec B108
            _unpack(Path(directory), plugin)
    version = max(compose_version(["docker", "compose"]), compose_version([str(plugin)]))
    current.detail = f"Docker Compose {version[0]}.{version[1]}"


def _unpack(directory: Path, plugin: Path) -> None:
    """Download the package with lists of its own, so that this machine's sources stay as they are."""
    directory.chmod(0o755)
    sources = directory / "debian.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {_mirror()} {RELEASE} main\n")
    for name in ("lists/partial", "cache/archives/partial", "package"):
        (directory / name).mkdir(parents=True)
    options = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": directory / "lists",
        "Dir::Cache": directory / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-q", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
    for command in (
        [*apt, "update"],
        [*apt, "download", "docker-compose"],
        ["sh", "-c", "dpkg-deb -x docker-compose_*.deb package"],
    ):
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StepFailed(
                f"Docker Compose could not be had from Debian: {done.stderr.strip() or done.stdout.strip()}"
            )
    plugin.parent.mkdir(exist_ok=True)
    shutil.copy2(directory / "package/usr/libexec/docker/cli-plugins/docker-compose", plugin)


def _mirror() -> str:
    """The mirror of Debian that this machine uses. Raises `StepFailed` where it uses none."""
    asked = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
        "Origin: Debian",
        "Component: main",
    ]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    if not found:
        raise StepFailed(INSTALL)
    return found[0]


def docker_configuration(layout: Layout, directory: Path) -> dict[str, str]:
    """Make `directory` a configuration of Docker's client that knows the plugin; returns the environment for it."""
    plugins = directory / "cli-plugins"
    plugins.mkdir(parents=True)
    if own_plugin(layout).is_file():
        (plugins / "docker-compose").symlink_to(own_plugin(layout))
    return {**os.environ, "DOCKER_CONFIG": str(directory)}
