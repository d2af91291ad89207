"""Doctor checks of the engine and its host's kernel."""

from collections.abc import Iterator
from datetime import date
from typing import Final

from app.core.settings.model import Settings
from app.models import utcnow
from app.resources import Resources
from app.runtime.base import EgressUnenforceable, EngineReport, EngineSize, Runtime
from app.runtime.docker.kernel import Demand, lacking
from workers.doctor.findings import Finding, judged

# End of upstream support of each Docker Engine version; unlisted versions are unknown. Distributions may support one
# longer.
SUPPORT_ENDED: Final = {
    "18.09": date(2019, 8, 22),
    "19.03": date(2021, 1, 8),
    "20.10": date(2023, 12, 10),
    "23.0": date(2025, 5, 19),
    "24.0": date(2024, 6, 8),
    "26.0": date(2024, 6, 8),
    "26.1": date(2025, 2, 17),
    "27": date(2025, 5, 3),
}

PODMAN: Final = "Podman"


def engine_findings(report: EngineReport) -> Iterator[Finding]:
    """Check what the engine can enforce."""
    ended = support_ended(report.version) if report.product != PODMAN else None
    yield judged(
        "engine", ended is None or ended > utcnow().date(), f"{report.product} {report.version}",
        f"{report.product} {report.version} has been unsupported since {ended}: it gets no security fixes",
        "Install a later version, or make sure that your distribution still fixes this one",
    )  # fmt: skip
    yield judged(
        "user namespaces", report.user_namespaces, "root in a container is an unprivileged user on the host",
        "root in a container is root on the host, with fewer capabilities",
        'Set "userns-remap": "default" in daemon.json, or run the engine rootless',
    )  # fmt: skip
    yield judged(
        "seccomp", report.seccomp, "the engine filters system calls", "the engine does not filter system calls",
        "Use a kernel with seccomp and the engine's default profile", level="fail",
    )  # fmt: skip
    yield judged(
        "access control", report.apparmor or report.selinux,
        "SELinux confines containers; host paths that templates mount need a label that containers may read"
        if report.selinux else "AppArmor confines containers",
        "neither AppArmor nor SELinux confines containers: only read-only mounts protect the kernel's files in /proc "
        "and /sys from root in a workspace",
        "Install apparmor and restart the engine, or enable SELinux and set \"selinux-enabled\": true in daemon.json",
    )  # fmt: skip
    missing = sorted(name for name, there in report.limits.items() if not there)
    yield judged(
        "limits", not missing, f"memory, swap, processes and processors are limited (cgroup v{report.cgroup_version})",
        f"the kernel does not limit {', '.join(missing)}", "Boot with cgroup_enable=memory swapaccount=1, or cgroup v2",
        level="warn" if missing == ["swap"] else "fail",
    )  # fmt: skip
    yield judged(
        "cgroup", report.cgroup_version == "2", "cgroup v2",
        f"cgroup v{report.cgroup_version} is deprecated and does not limit writes to disk through the page cache",
        "Boot with systemd.unified_cgroup_hierarchy=1",
    )  # fmt: skip
    yield judged(
        "disk", bool(report.disk_quota), "the engine's storage supports quotas: set overlay2.size in daemon.json",
        "disk use is not limited",
        'Put the engine\'s folder on xfs with pquota and set "storage-opts": ["overlay2.size=10G"] in daemon.json',
    )  # fmt: skip
    yield judged(
        "live restore", report.live_restore, "workspaces keep running while the engine restarts",
        "a restart of the engine stops every workspace", 'Set "live-restore": true in daemon.json',
    )  # fmt: skip
    yield Finding("icc", "ok", f"the default bridge, which no workspace uses, has icc {'on' if report.icc else 'off'}")


def product_findings(settings: Settings, report: EngineReport) -> Iterator[Finding]:
    """Check features specific to Docker or Podman."""
    podman = report.product == PODMAN
    yield judged(
        "system calls", podman == bool(settings.seccomp_file), "workspaces may make only the listed system calls",
        "Podman reads the list of system calls from a file, and SECCOMP_FILE is empty: no workspace starts"
        if podman else "Docker cannot read the list of system calls from SECCOMP_FILE: no workspace starts",
        "Copy app/runtime/docker/seccomp.json to the engine's host and set SECCOMP_FILE to its path"
        if podman else "Leave SECCOMP_FILE empty",
        level="fail",
    )  # fmt: skip
    yield judged(
        "terminals", not podman, "the number of terminals per workspace is limited",
        "Podman does not limit a workspace's terminals: one can use up the machine's kernel.pty.max",
        "Use Docker, unless all users of the machine trust each other",
    )  # fmt: skip
    if not report.tells_memory_kills:
        yield Finding(
            "memory kills", "warn", f"{report.product} does not report programs that the kernel killed for memory: "
            "users are not told of them while the workspace runs on", "Use Docker if that matters",
        )  # fmt: skip


async def egress_findings(runtime: Runtime) -> list[Finding]:
    """Check whether egress rules are enforced."""
    try:
        in_force = await runtime.check_egress()
    except EgressUnenforceable as fault:
        return [
            Finding(
                "egress", "warn", f"workspaces reach the host and private networks: {fault}",
                "Install nftables and run workers on the engine's host with CAP_NET_ADMIN",
            )
        ]  # fmt: skip
    return [
        judged(
            "egress", in_force, "workspaces reach neither the host nor private networks that no template lists",
            "the egress rules are not in force", "Start a worker: it creates them", level="fail",
        )
    ]  # fmt: skip


def support_ended(version: str) -> date | None:
    """Return the end of a version's support, by its first two numbers or its first."""
    numbers = version.split(".")
    return SUPPORT_ENDED.get(".".join(numbers[:2])) or SUPPORT_ENDED.get(numbers[0])


def kernel_findings(resources: Resources, size: EngineSize) -> Iterator[Finding]:
    """Check kernel limits that one workspace could exhaust for all, if the engine's host is this one."""
    if not resources.settings.docker_url.startswith("unix:"):
        return
    low = list(lacking(demand_of(resources, size)))
    if not low:
        yield Finding("kernel", "ok", "no workspace can exhaust the kernel's shared limits")
    for bound, value, need in low:
        yield Finding(
            "kernel", "warn", f"{bound.name} is {value}: once a workspace has used it up, {bound.loses}",
            f"Put {bound.name} = {need} into a file of /etc/sysctl.d",
        )  # fmt: skip


def demand_of(resources: Resources, size: EngineSize) -> Demand:
    """Return the maximum load: of each template as many workspaces as memory and limits allow."""
    settings = resources.settings
    memory = round(size.memory_bytes * settings.memory_overcommit)
    limits = [template.limits for template in resources.catalog.templates]
    counts = [memory // limit.memory for limit in limits]
    if settings.running_limit:
        counts = [min(count, settings.running_limit) for count in counts]
    processes = max(count * limit.pids for count, limit in zip(counts, limits, strict=True))
    return Demand(memory, max(counts), processes)
