"""Checks an installation, with a remedy per finding: for `spawner doctor` and a worker's start."""

import asyncio
import ipaddress
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.catalog.loader import CatalogInvalid
from app.core.schema import SchemaUnfit, read_schema
from app.core.settings.model import Settings
from app.health.processes import list_processes
from app.runtime.base import EgressUnenforceable, RuntimeFault
from app.workspaces.container_spec import network_index
from workers.context import WorkerContext, open_context
from workers.doctor.engine import egress_findings, engine_findings, kernel_findings, product_findings
from workers.doctor.findings import Finding, judged
from workers.unclaimed import FOREIGN, find_unclaimed

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 5.0
RETRY_SECONDS = 3
SKEW_SECONDS = 1.0
STRONG_BITS = 128
ROUTES = Path("/proc/net/route")


async def examine(settings: Settings) -> list[Finding]:
    """Run all checks. An unavailable part is a finding."""
    try:
        async with open_context(settings) as context:
            return await findings(context)
    except CatalogInvalid as error:
        return [Finding("catalogue", "fail", mistake, "Correct it") for mistake in error.mistakes]


async def findings(context: WorkerContext) -> list[Finding]:
    """Run all checks with open resources, in a fixed order."""
    settings, runtime = context.resources.settings, context.runtime
    found = list(settings_findings(settings))
    for name, remedy, look in (
        ("engine", "Start it, or correct SPAWNER_DOCKER_URL", lambda: _engine(context)),
        ("egress", "Start the engine", lambda: egress_findings(runtime)),
        ("database", "Start it, or correct SPAWNER_DATABASE_URL", lambda: _database(context)),
        ("workspaces", "Start engine and database", lambda: _unclaimed(context)),
        ("redis", "Start it, or correct SPAWNER_REDIS_URL", lambda: _redis(context)),
        ("mail", "Start the mail server, or correct SPAWNER_SMTP_URL", lambda: _mail(settings)),
    ):
        found += await _answered(name, remedy, look)
    return found


async def _answered(name: str, remedy: str, look: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    try:
        return await asyncio.wait_for(look(), TIMEOUT_SECONDS)
    except (RuntimeFault, SQLAlchemyError, RedisError, OSError) as error:
        # Without the error's text, which may contain an address with its password.
        return [Finding(name, "fail", f"does not answer ({type(error).__name__})", remedy)]


async def log_engine_findings(context: WorkerContext) -> None:
    """Create the egress rules, then log once what this engine cannot enforce."""
    while True:
        try:
            try:
                await context.runtime.reconcile_egress(context.resources.settings.instance)
            except EgressUnenforceable as fault:
                log.debug("egress_rules_missing", error=str(fault))
            report = await context.runtime.report()
            lacking = [*engine_findings(report), *product_findings(context.resources.settings, report)]
            lacking += await egress_findings(context.runtime)
            lacking += kernel_findings(context.resources, await context.runtime.size())
        except RuntimeFault as fault:
            log.debug("engine_not_checked", code=fault.code, error=str(fault))
            await asyncio.sleep(RETRY_SECONDS)
            continue
        lines = [f"{finding.text}. {finding.remedy}" for finding in lacking if finding.level != "ok"]
        say = log.warning if lines else log.info
        say("engine_checked", version=report.version, not_enforced=lines)
        return


async def _engine(context: WorkerContext) -> list[Finding]:
    report, size = await asyncio.gather(context.runtime.report(), context.runtime.size())
    return [
        *engine_findings(report),
        *product_findings(context.resources.settings, report),
        *kernel_findings(context.resources, size),
        *range_findings(context.resources.settings, report.networks, routes()),
    ]


def routes(file: Path = ROUTES) -> dict[str, str]:
    """Return this machine's routes without gateway: each network with its interface."""
    found = {}
    try:
        lines = [line.split() for line in file.read_text().splitlines()[1:]]
    except OSError:
        return {}
    for interface, target, _, _, _, _, _, mask, *_ in lines:
        address, bits = (ipaddress.IPv4Address(bytes.fromhex(word)[::-1]) for word in (target, mask))
        if int(bits):
            found[str(ipaddress.IPv4Network(f"{address}/{bits}"))] = interface
    return found


def range_findings(settings: Settings, networks: Mapping[str, str], routed: Mapping[str, str]) -> Iterator[Finding]:
    """Check whether addresses of NETWORK_RANGE are in use."""
    own = {subnet for name, subnet in networks.items() if network_index(settings, name) is not None}
    others = {subnet: name for name, subnet in networks.items() if subnet not in own}
    others |= {subnet: name for subnet, name in routed.items() if subnet not in own and subnet not in others}
    wanted = ipaddress.IPv4Network(settings.network_range)
    taken = sorted(f"{subnet} ({others[subnet]})" for subnet in others if _overlaps(wanted, subnet))
    yield judged(
        "network range", not taken, f"nothing else uses {wanted}",
        f"{wanted} is also used by {', '.join(taken[:3])}{' and others' if len(taken) > 3 else ''}",
        "Set SPAWNER_NETWORK_RANGE to a range that nothing else uses",
    )  # fmt: skip


def _overlaps(wanted: ipaddress.IPv4Network, subnet: str) -> bool:
    other = ipaddress.ip_network(subnet)
    return isinstance(other, ipaddress.IPv4Network) and wanted.overlaps(other)


def settings_findings(settings: Settings) -> Iterator[Finding]:
    """Check the settings."""
    bits = _entropy(settings.secret_key)
    yield judged(
        "secret", bits >= STRONG_BITS, "SECRET_KEY is strong", f"SECRET_KEY has at most {bits:.0f} bits of entropy",
        "Set it to the output of `openssl rand -base64 48`", level="fail",
    )  # fmt: skip
    production = settings.environment == "production"
    secure = settings.secure_cookies and settings.workspace_url.startswith("https://")
    yield judged(
        "transport", secure or not production, "browsers connect over TLS" if secure else "development, without TLS",
        "browsers connect without TLS", "Give PUBLIC_URL and WORKSPACE_URL https:// addresses", level="fail",
    )  # fmt: skip
    yield judged(
        "origins", settings.host_mode or not production,
        "each workspace has its own origin" if settings.host_mode else "development, with one origin: sharing is off",
        "all workspaces share one origin: a user's workspaces can read each other, and sharing is off",
        "Put {route} into the host of WORKSPACE_URL",
    )  # fmt: skip


def _entropy(secret: str) -> float:
    """Return the secret's bits of entropy, by its character frequencies."""
    counts = Counter(secret)
    return sum(-count * math.log2(count / len(secret)) for count in counts.values())


async def _database(context: WorkerContext) -> list[Finding]:
    async with context.resources.engine.connect() as connection:
        began = time.time()
        there = await connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())"))
        skew = abs(float(there) - (began + time.time()) / 2)
        schema = await read_schema(connection)
    try:
        schema.require_fit()
        unfit = ""
    except SchemaUnfit as error:
        unfit = str(error)
    return [
        Finding("database", "ok", "PostgreSQL answers"),
        judged(
            "migrations", not unfit, "the database schema fits this version", unfit,
            "Run `spawner migrate` before each new version starts", level="fail",
        ),
        judged(
            "clock", skew < SKEW_SECONDS, "the database's clock agrees with this machine's",
            f"the database's clock differs from this machine's by {skew:.1f} s", "Synchronise both with NTP",
        ),
    ]  # fmt: skip


async def _unclaimed(context: WorkerContext) -> list[Finding]:
    containers = [item for item in await find_unclaimed(context) if item.kind == "container"]
    foreign = [item for item in containers if item.reason.startswith(FOREIGN)]
    return [
        judged(
            "workspaces", not containers, "each container with our label has a row",
            f"{len(containers)} containers with our label have no row, {len(foreign)} belong to another database",
            "If SPAWNER_DATABASE_URL is correct, `spawner orphans` lists them, and `--remove` removes them",
            level="fail" if foreign else "warn",
        )
    ]  # fmt: skip


async def _redis(context: WorkerContext) -> list[Finding]:
    resources = context.resources
    await resources.redis.ping()
    here, found = resources.catalog.digest, await list_processes(resources)
    differing = [f"{one.kind} {one.name}" for one in found if one.catalog != here]
    return [
        Finding("redis", "ok", "Redis answers"),
        judged(
            "catalogues", not differing, f"{len(found)} processes have this catalogue ({here})",
            f"{', '.join(differing)} have a different catalogue than this host ({here})",
            "Give all processes the same file and settings, and restart them", level="fail",
        ),
    ]  # fmt: skip


async def _mail(settings: Settings) -> list[Finding]:
    parts = urlsplit(settings.smtp_url)
    port = parts.port or {"smtps": 465, "smtp+starttls": 587}.get(parts.scheme, 25)
    _, writer = await asyncio.open_connection(parts.hostname, port)
    writer.close()
    return [Finding("mail", "ok", "the mail server answers")]
