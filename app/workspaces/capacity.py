"""Capacity: what running workspaces, starting launches and warm seats take, and the limits that this is held to."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Float, ScalarSelect, case, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalog.templates import Catalog, Limits
from app.core.settings.model import Settings
from app.models import EngineCapacity, Job, JobState, Seat, Workspace
from app.resources import Resources
from app.workspaces import seats
from app.workspaces.states import STARTING

WAITING = (Job.state == JobState.QUEUED) & Job.admitted_at.is_(None)
STARTING_NOW = Job.is_live & Job.admitted_at.is_not(None) & Job.kind.in_(STARTING)


@dataclass(slots=True)
class Allocation:
    """Allocated resources and the engine's capacity; None if unknown."""

    workspaces: int
    memory: int
    cpus: float
    starting: int
    has_memory: int | None
    has_cpus: int | None
    free_disk: int | None

    def add(self, limits: Limits, *, reserved: bool) -> None:
        """Add one launch; `reserved`: its workspace is counted already."""
        self.starting += 1
        if not reserved:
            self.workspaces += 1
            self.memory += limits.memory
            self.cpus += limits.cpus


def limiting_resource(settings: Settings, taken: Allocation, limits: Limits, *, reserved: bool) -> str | None:
    """Return the code of the limit that excludes one more launch, or None. `reserved`: it is counted already."""
    if taken.starting >= settings.launches_at_once:
        return "capacity_launches"
    if reserved:
        return None
    if settings.running_limit and taken.workspaces >= settings.running_limit:
        return "capacity_running"
    if taken.has_memory and taken.memory + limits.memory > taken.has_memory * settings.memory_overcommit:
        return "capacity_memory"
    if taken.has_cpus and taken.cpus + limits.cpus > taken.has_cpus * settings.cpu_overcommit:
        return "capacity_cpu"
    if taken.free_disk is not None and taken.free_disk < settings.min_free_disk_mb << 20:
        return "capacity_disk"
    return None


async def count_allocated(session: AsyncSession) -> Allocation:
    """Return allocated resources and the engine's capacity."""
    warm = Seat.state.in_(seats.PROMISING)
    seats_memory = select(func.coalesce(func.sum(Seat.memory), 0)).where(warm).scalar_subquery()
    seats_cpus = select(func.coalesce(func.sum(Seat.cpus), 0.0)).where(warm).scalar_subquery()
    promised = (
        select(
            func.count() + number_of(Seat.id, warm),
            func.coalesce(func.sum(Workspace.reserved_memory), 0) + seats_memory,
            func.coalesce(func.sum(Workspace.reserved_cpus), 0.0) + seats_cpus,
            number_of(Job.id, STARTING_NOW),
            select(EngineCapacity.memory_bytes).scalar_subquery(),
            select(EngineCapacity.cpus).scalar_subquery(),
            select(EngineCapacity.disk_free_bytes).scalar_subquery(),
        )
        .select_from(Workspace)
        .where(Workspace.reserved_memory.is_not(None))
    )
    return Allocation(*(await session.execute(promised)).one())


def reservation(resources: Resources, template: str) -> dict[str, Any]:
    """Return what counts against the limits from a workspace's start until its status releases it."""
    limits = limits_of(resources, template)
    return {"reserved_memory": limits.memory, "reserved_cpus": limits.cpus}


def reservations(catalog: Catalog) -> dict[str, Any]:
    """Return each template's reservation as CASE expressions, for bulk updates."""
    limits = {template.key: template.limits for template in catalog.templates}
    memory = {key: literal(one.memory, BigInteger) for key, one in limits.items()}
    cpus = {key: literal(one.cpus, Float) for key, one in limits.items()}
    return {
        "reserved_memory": case(memory, value=Workspace.template, else_=0),
        "reserved_cpus": case(cpus, value=Workspace.template, else_=0.0),
    }


def limits_of(resources: Resources, template: str) -> Limits:
    """Return a template's limits; zero for a removed template, whose job fails later."""
    found = resources.catalog.get(template)
    return found.limits if found else Limits.model_construct(memory=0, cpus=0, pids=0)


def number_of(what: Any, *criteria: ColumnElement[bool]) -> ScalarSelect[int]:
    """Count rows as a scalar subquery."""
    return select(func.count(what)).where(*criteria).correlate(None).scalar_subquery()
