"""nftables, through which workers hold where workspaces connect to."""

import os
import shutil
import subprocess

from app.runtime.docker.firewall import table_of
from deploy.stack import debian
from deploy.stack.console import Step

SYSTEM_PATH = "/usr/sbin:/sbin"


def find_nft() -> str | None:
    """The program, which a plain user's PATH often lacks."""
    return shutil.which("nft") or shutil.which("nft", path=SYSTEM_PATH)


def ensure_nft(current: Step) -> None:
    """Install nftables where we may; without it workspaces run, and workers say what that means."""
    if find_nft() is None and debian.can_install():
        current.announce("installing nftables with apt-get")
        debian.install("nftables")
    if find_nft() is None or os.getuid() != 0:
        current.announce("workspaces will reach private networks: rules against that need nftables, and root")


def remove_rules(instance: str) -> bool:
    """Remove an installation's table, and say whether there was one that we may remove."""
    program = find_nft()
    if program is None:
        return False
    command = [program, "delete", "table", "inet", table_of(instance)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
