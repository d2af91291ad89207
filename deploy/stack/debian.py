"""Install what is missing, where we may: as root on Debian, Ubuntu and what derives from them."""

import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from deploy.stack.console import StepFailed

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

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


def unpack(release: str, packages: Sequence[str], directory: Path, root: Path, *, dependencies: bool) -> None:
    """Unpack packages of a release into `root`, with lists of their own below `directory`: no package is installed,
    and this machine's sources stay as they are. Raises `StepFailed` with the words of what failed.
    """
    for name in ("lists/partial", "cache/archives/partial"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    (directory / "status").touch()
    sources = directory / "debian.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {_mirror()} {release} main\n")
    options = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": directory / "lists",
        # Nothing is installed as far as apt can see, so that it downloads all that the packages depend on.
        "Dir::State::Status": directory / "status",
        "Dir::Cache": directory / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-q", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
    archives = directory / "cache" / "archives"
    wanted = ["install", "-y", "--no-install-recommends", "--download-only"] if dependencies else ["download"]
    _run([*apt, "update"], archives)
    _run([*apt, *wanted, *packages], archives)
    for package in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(root)], archives)


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepFailed(f"`{command[0]} … {command[-1]}` failed: {done.stderr.strip() or done.stdout.strip()}")


def _mirror() -> str:
    """The mirror of Debian that this machine uses. Raises `StepFailed` where it uses none."""
    target = ["Created-By: Packages", "Origin: Debian", "Component: main"]
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", *target]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    if not found:
        raise StepFailed("this machine takes no packages from a mirror of Debian")
    return found[0]
