"""What `spawner doctor` finds, and what a worker says of its engine at its start."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.settings.model import Settings
from app.runtime.base import EngineReport, EngineUnavailable
from tests.conftest import TestWorker
from tests.support.fakes import FakeRuntime
from tests.support.waiting import PATIENCE
from workers.doctor import examine
from workers.doctor.engine import demand_of, engine_findings, kernel_findings, product_findings, support_ended
from workers.doctor.examine import range_findings, routes, settings_findings
from workers.doctor.findings import Finding

SECRET = "8Qf3vN1kz0XyT7bLw2RsHc5JmDpEa9Ug"


def levels(found: Iterator[Finding] | list[Finding]) -> dict[str, str]:
    return {finding.name: finding.level for finding in found}


async def test_a_sound_installation_is_found_sound(worker: TestWorker) -> None:
    found = await examine.findings(worker.context)
    # The sysctls are this machine's.
    assert {finding.name for finding in found if finding.level != "ok"} <= {"kernel"}
    assert {
        "secret",
        "engine",
        "disk",
        "egress",
        "network range",
        "database",
        "migrations",
        "clock",
        "redis",
        "mail",
    } <= {finding.name for finding in found}


async def test_each_wrong_thing_is_named_with_its_remedy(
    worker: TestWorker, runtime: FakeRuntime, owner: AsyncEngine
) -> None:
    lame = {"memory": False, "swap": True, "pids": True, "processors": True}
    runtime.engine_report = EngineReport(
        "Docker Engine",
        "20.10.1",
        False,
        False,
        False,
        False,
        "1",
        lame,
        False,
        False,
        True,
        True,
        {"lan": "10.0.0.0/8"},
    )
    runtime.unenforceable = True
    async with owner.begin() as connection:
        before = await connection.scalar(text("SELECT version_num FROM alembic_version"))
        await connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        found = await examine.findings(worker.context)
    finally:
        async with owner.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = :before"), {"before": before})
    wrong = [finding for finding in found if finding.level != "ok" and finding.name != "kernel"]
    assert levels(wrong) == {
        "user namespaces": "warn", "engine": "warn", "seccomp": "fail", "access control": "warn", "limits": "fail",
        "cgroup": "warn",
        "disk": "warn", "live restore": "warn", "network range": "warn", "egress": "warn", "migrations": "fail",
    }  # fmt: skip
    assert all(finding.remedy for finding in wrong)
    assert "disk use is not limited" in {finding.text for finding in wrong}


async def test_an_engine_that_is_away_is_a_finding(worker: TestWorker, runtime: FakeRuntime) -> None:
    async def report() -> EngineReport:
        raise EngineUnavailable("tcp://user:password@engine")

    runtime.report = report  # type: ignore[method-assign]  # as an engine that was stopped
    found = [finding for finding in await examine.findings(worker.context) if finding.level == "fail"]
    assert levels(found) == {"engine": "fail"}
    assert "password" not in str(found)


def test_settings_that_do_not_fit_production_are_named(settings: Settings) -> None:
    assert set(levels(settings_findings(settings)).values()) == {"ok"}
    changes = {
        "workspace_url": "http://127.0.0.1/{route}",
        "environment": "production",
        "secret_key": 2 * "0123456789abcdef",
    }
    assert levels(settings_findings(settings.model_copy(update=changes))) == {
        "secret": "ok", "transport": "fail", "origins": "warn",
    }  # fmt: skip
    weak = settings.model_copy(update={"secret_key": 22 * "a" + "0123456789"})
    assert levels(settings_findings(weak))["secret"] == "fail"
    secure = {"public_url": "https://a.example", "workspace_url": "https://{route}.w.example", "secret_key": SECRET}
    sound = settings.model_copy(update={**changes, **secure})
    assert set(levels(settings_findings(sound)).values()) == {"ok"}


def test_a_range_that_somebody_else_uses_is_named(settings: Settings, tmp_path: Path) -> None:
    own = {f"{settings.instance}.3": "10.215.0.48/28", "bridge": "172.17.0.0/16", "v6": "fd00::/64"}
    table = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    table += "br-1 3000D70A 0 1 0 0 0 F0FFFFFF 0 0 0\neth0 00000000 0102000A 3 0 0 0 00000000 0 0 0\n"
    (tmp_path / "route").write_text(table)
    assert routes(tmp_path / "route") == {"10.215.0.48/28": "br-1"}
    assert routes(tmp_path / "nowhere") == {}
    assert levels(range_findings(settings, own, routes(tmp_path / "route"))) == {"network range": "ok"}
    for networks, routed in ((own | {"other.1": "10.215.1.0/28"}, {}), (own, {"10.0.0.0/8": "tun0"})):
        (finding,) = range_findings(settings, networks, routed)
        assert finding.level == "warn"
        assert "also used by" in finding.text


def test_swap_alone_that_is_not_limited_is_no_failure(runtime: FakeRuntime) -> None:
    limits = {**runtime.engine_report.limits, "swap": False}
    assert levels(engine_findings(replace(runtime.engine_report, limits=limits)))["limits"] == "warn"


def test_what_podman_does_not_hold_is_named(settings: Settings, runtime: FakeRuntime) -> None:
    assert set(levels(product_findings(settings, runtime.engine_report)).values()) == {"ok"}
    report = replace(runtime.engine_report, product="Podman", version="20.10.1", tells_memory_kills=False)
    assert levels(engine_findings(report))["engine"] == "ok"
    bare = {"system calls": "fail", "terminals": "warn", "memory kills": "warn"}
    assert levels(product_findings(settings, report)) == bare
    named = settings.model_copy(update={"seccomp_file": "/etc/seccomp.json"})
    assert levels(product_findings(named, report)) == bare | {"system calls": "ok"}
    assert levels(product_findings(named, runtime.engine_report))["system calls"] == "fail"


async def test_a_worker_says_once_what_its_engine_cannot_enforce(
    worker: TestWorker, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A logger that was used before logging was configured anew would not be heard.
    monkeypatch.setattr(examine, "log", structlog.get_logger())
    runtime.unenforceable = True
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(PATIENCE):
            await examine.log_engine_findings(worker.context)
    said = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["event"] for entry in said] == ["engine_checked"]
    # The sysctls are this machine's.
    (line,) = [line for line in said[0]["not_enforced"] if "sysctl.d" not in line]
    assert "private networks" in line
    assert "CAP_NET_ADMIN" in line


async def test_a_catalogue_with_mistakes_is_a_finding(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("templates: []")
    (finding,) = await examine.examine(settings.model_copy(update={"catalog": tmp_path / "broken.yaml"}))
    assert str(finding).split()[:2] == ["fail", "catalogue"]


@pytest.mark.parametrize(
    ("version", "ended"),
    [
        ("20.10.24+dfsg1", True),
        ("26.1.5", True),
        ("27.5.1", True),
        ("28.5.2", False),
        ("29.3.0", False),
        ("5.4.2", False),
    ],
)
def test_an_engine_out_of_support_is_named(version: str, ended: bool, runtime: FakeRuntime) -> None:
    assert (support_ended(version) is not None) == ended
    found = {item.name: item for item in engine_findings(replace(runtime.engine_report, version=version))}
    assert found["engine"].level == ("warn" if ended else "ok")
    assert version in found["engine"].text


def test_one_of_the_two_that_confine_is_enough_and_without_both_the_loss_is_said(runtime: FakeRuntime) -> None:
    for selinux, apparmor, level in ((True, False, "ok"), (False, True, "ok"), (False, False, "warn")):
        report = replace(runtime.engine_report, selinux=selinux, apparmor=apparmor)
        found = {item.name: item for item in engine_findings(report)}
        assert found["access control"].level == level
        assert found["access control"].text.startswith("SELinux confines") == selinux
    old = {item.name: item.text for item in engine_findings(replace(runtime.engine_report, cgroup_version="1"))}
    assert "page cache" in old["cgroup"]


def test_sysctls_are_asked_for_in_proportion_to_what_may_run(worker: TestWorker, runtime: FakeRuntime) -> None:
    resources = worker.context.resources
    size = runtime.engine_size
    demand = demand_of(resources, size)
    assert demand.memory_bytes == size.memory_bytes * resources.settings.memory_overcommit
    assert demand.workspaces == max(size.memory_bytes // item.limits.memory for item in resources.catalog.templates)
    large = list(kernel_findings(resources, replace(size, memory_bytes=1 << 50)))
    assert "fs.inotify.max_user_instances" in " ".join(item.remedy for item in large)
    assert {item.level for item in large} == {"warn"}
    assert all("= " in item.remedy and "has used it up" in item.text for item in large)
