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
            root = Path(directory) / "package"
            try:
                debian.unpack(RELEASE, ["docker-compose"], Path(directory), root, dependencies=False)
            except StepFailed as failed:
                raise StepFailed(f"Docker Compose could not be had from Debian: {failed}. Else: {INSTALL}") from failed
            plugin.parent.mkdir(exist_ok=True)
            shutil.copy2(root / "usr/libexec/docker/cli-plugins/docker-compose", plugin)
    version = max(compose_version(["docker", "compose"]), compose_version([str(plugin)]))
    current.detail = f"Docker Compose {version[0]}.{version[1]}"


def docker_configuration(layout: Layout, directory: Path) -> dict[str, str]:
    """Make `directory` a configuration of Docker's client that knows the plugin; returns the environment for it."""
    plugins = directory / "cli-plugins"
    plugins.mkdir(parents=True)
    if own_plugin(layout).is_file():
        (plugins / "docker-compose").symlink_to(own_plugin(layout))
    return {**os.environ, "DOCKER_CONFIG": str(directory)}
