"""The engines: where Debian has each, and how it is started in a root of its own."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.runtime.docker import policy
from deploy.stack import debian

# Where an engine's root has its socket and our list of system calls.
SOCKET: Final = "engine.sock"
SECCOMP: Final = "seccomp.json"
# What it takes cgroups below; Podman's name for them cannot be chosen for a whole engine.
GROUPS: Final = ("spawner-engines", "libpod_parent")

# catatonit is what reaps processes in our namespace, and the `Init` of Podman's containers.
EVERY: Final = ("runc", "iptables", "catatonit", "busybox-static")
PODMAN: Final = ("podman", "netavark", "aardvark-dns", "nftables")
DOCKERD: Final = ("/usr/sbin/dockerd", "--host", f"unix:///{SOCKET}", "--cgroup-parent", f"/{GROUPS[0]}")
# crun refuses hybrid cgroups.
PODMAN_CONFIGURATION: Final = """\
[containers]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
firewall_driver = "nftables"
"""


@dataclass(frozen=True, slots=True)
class Specimen:
    """An engine: a release of Debian, its packages there, and the command that serves its API."""

    release: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    # What an operator sets for it.
    environment: tuple[tuple[str, str], ...] = ()


SPECIMENS: Final = {
    "docker-26": Specimen("trixie", ("docker.io",), DOCKERD),
    "docker-28": Specimen("unstable", ("docker.io",), DOCKERD),
    "podman-5": Specimen(
        "trixie",
        PODMAN,
        ("/usr/bin/podman", "system", "service", "--time", "0", f"unix:///{SOCKET}"),
        (("SPAWNER_SECCOMP_FILE", f"/{SECCOMP}"),),
    ),
}


def make_root(specimen: Specimen, directory: Path) -> Path:
    """Unpack the engine with all that it depends on; no script of a package runs. Raises `StepFailed`."""
    root = directory / "root"
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in ("etc/containers", "proc", "sys", "dev", "run", "tmp", "old", "root", "var/lib", "var/tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "var/run").symlink_to("/run")
    debian.unpack(specimen.release, [*EVERY, *specimen.packages], directory / "apt", root, dependencies=True)
    # What the packages' scripts would have done.
    for name in ("iptables", "ip6tables"):
        (root / "usr/sbin" / name).symlink_to(f"{name}-nft")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    # Podman asks no name server that it has no address of; this one answers nobody.
    (root / "etc/resolv.conf").write_text(f"nameserver {policy.NO_RESOLVER[0]}\n")
    (root / "etc/containers/containers.conf").write_text(PODMAN_CONFIGURATION)
    (root / "etc/containers/policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    (root / SECCOMP).write_text(policy.SECCOMP)
    # The tests make their image of a static busybox, which they look for in PATH.
    tools = directory / "tools"
    tools.mkdir()
    shutil.copy2(root / "usr/bin/busybox", tools)
    return root
