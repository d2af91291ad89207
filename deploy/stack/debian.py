"""Install what is missing, where we may: as root on Debian, Ubuntu and what derives from them."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

from deploy.stack.console import StepFailed

_APT = threading.Lock()
_updated = False


def can_install() -> bool:
    """Say whether this is root on a system of Debian's family."""
    return os.getuid() == 0 and shutil.which("apt-get") is not None and is_debian(Path("/etc/os-release"))


def is_debian(os_release: Path) -> bool:
    """Read from an os-release file whether the system is Debian, Ubuntu or calls itself like them."""
    try:
        lines = os_release.read_text().splitlines()
    except OSError:
        return False
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    names = f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".replace('"', " ").split()
    return "debian" in names or "ubuntu" in names


def install(*packages: str) -> None:
    """Install packages, after one update of the lists. Raises `StepFailed` with apt's own words."""
    global _updated
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
    commands = [["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]]
    with _APT:
        if not _updated:
            commands.insert(0, ["apt-get", "update", "-q"])
        for command in commands:
            done = subprocess.run(
                [*command, "-o", "DPkg::Lock::Timeout=120"],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
                raise StepFailed(f"`{' '.join(command)}` failed:\n{tail}")
        _updated = True
