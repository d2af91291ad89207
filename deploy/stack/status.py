"""`make status` and `make logs`."""

import os
import time

import redis

from deploy.stack import images
from deploy.stack.console import StepFailed
from deploy.stack.engine import Engine, EngineFailed
from deploy.stack.environment import catalogue
from deploy.stack.layout import Layout
from deploy.stack.programs import BUILDER
from deploy.stack.readiness import READY, readiness
from deploy.stack.supervisor import RUNNING, Supervisor
from deploy.stack.up import running_settings

Row = tuple[str, str, str, str]


def status(layout: Layout) -> bool:
    """Print each part, its state, uptime and address; say whether all of them are well."""
    settings = running_settings(layout)
    addresses = {
        "postgres": settings["SPAWNER_DATABASE_URL"],
        "redis": settings["SPAWNER_REDIS_URL"],
        "mail": f"{settings['SPAWNER_SMTP_URL']} -> {layout.maildir}",
        "api": settings["SPAWNER_API_UPSTREAM"],
        "gateway": settings["SPAWNER_GATEWAY_UPSTREAM"],
        "caddy": f"{settings['SPAWNER_PUBLIC_URL']}, workspaces at {settings['SPAWNER_WORKSPACE_URL']}",
    }
    rows: list[Row] = []
    well = True
    for name, state in Supervisor(layout).states().items():
        if name != BUILDER:
            up = state.state == RUNNING
            uptime = duration(time.time() - state.since) if up else ""
            rows.append((name, state.state.lower(), uptime, addresses.get(name, "")))
            well = well and up
    engine_rows, engine_well = _engine_rows(layout, settings)
    rows += engine_rows
    for part, said in readiness(settings).items():
        ready = said == READY
        rows.append((f"{part} ready", "yes" if ready else "no", "", "" if ready else said))
        well = well and ready
    for row in rows:
        print(f"  {row[0]:<24}{row[1]:<10}{row[2]:>8}  {row[3]}".rstrip())
    return well and engine_well


def _engine_rows(layout: Layout, settings: dict[str, str]) -> tuple[list[Row], bool]:
    """The engine and its sample images; a missing image is shown with what its builder last said."""
    url = settings["SPAWNER_DOCKER_URL"]
    try:
        engine = Engine(url)
        rows: list[Row] = [("docker", "running", "", f"{url}, version {engine.version()[0]}")]
        absent = {sample.image for sample in images.missing(engine, images.samples(catalogue(layout, settings)))}
    except EngineFailed as error:
        return [("docker", "silent", "", f"{url}: {error}")], False
    share = images.Shared(settings["SPAWNER_REDIS_URL"], settings["SPAWNER_INSTANCE"])
    for sample in images.samples(catalogue(layout, settings)):
        said = ""
        if sample.image in absent:
            try:
                said = share.state(sample.image) or "missing"
            except redis.RedisError:
                said = "missing"
        state, _, reason = said.partition(":")
        rows.append((sample.image, state or "ready", "", reason))
    return rows, True


def duration(seconds: float) -> str:
    """Shorten a time to its two largest units: `3d 4h`, `12m 5s`."""
    parts, rest = [], int(max(seconds, 0))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if rest >= size:
            parts.append(f"{rest // size}{unit}")
            rest %= size
    return " ".join(parts[:2]) or "0s"


def logs(layout: Layout, part: str) -> None:
    """Become `tail` on the log of one part, or on all of them; does not return. Raises `StepFailed` if nothing runs."""
    found = {path.stem: path for path in sorted(layout.logs.glob("*.log"))}
    if not Supervisor(layout).is_up():
        before = f"; what was logged before is in {layout.logs}" if found else ""
        raise StepFailed(f"nothing runs: `make up` starts Spawner{before}")
    if part and part not in found:
        raise StepFailed(f"there is no log of {part!r}; there is: {', '.join(found)}")
    chosen = [found[part]] if part else list(found.values())
    os.execvp("tail", ["tail", "-n", "40" if part else "8", "-F", *map(str, chosen)])  # noqa: S606 # nosec B606 # tail takes over
