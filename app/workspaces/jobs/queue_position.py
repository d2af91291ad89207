"""Queue positions of jobs, and their estimated time to completion."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Float, Select, Subquery, Uuid, any_, bindparam, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.settings.model import Settings
from app.models import WAITED, Job, JobState, utcnow
from app.workspaces.admission import FAIR_ORDER
from app.workspaces.capacity import WAITING

# Launches that left the queue last, from which its pace follows.
RECENTLY_ADMITTED = 10


class Place(NamedTuple):
    """A queued job's place, from 1, and the seconds that the queue takes for each place; None if unknown."""

    position: int | None = None
    pace: float | None = None


def _line() -> Subquery:
    """Queued jobs with their places: admitted ones first, then in fair order."""
    turn = (FAIR_ORDER.c.turn, FAIR_ORDER.c.since)
    place = func.row_number().over(order_by=(Job.admitted_at.asc().nulls_last(), *turn, Job.id))
    return (
        select(Job.id, place.label("place"))
        .outerjoin(FAIR_ORDER, FAIR_ORDER.c.id == Job.id)
        .where(Job.state == JobState.QUEUED)
        .subquery()
    )


_LINE = _line()


def place_of_job() -> ColumnElement[int | None]:
    """The place of the query's `Job`, from 1; null unless queued. Reads the queue only for queued jobs."""
    place = select(_LINE.c.place).where(_LINE.c.id == Job.id).correlate(Job).scalar_subquery()
    return case((Job.state == JobState.QUEUED, place), else_=None)


def pace_for_job() -> ColumnElement[float | None]:
    """The queue's seconds for each place, if the query's `Job` waits for capacity; null unless any launch was admitted
    since the oldest one waits.
    """
    oldest = select(func.min(Job.created_at)).where(WAITING).correlate(None).scalar_subquery()
    admitted = (
        select(Job.admitted_at)
        .where(WAITED, Job.admitted_at > oldest)
        .order_by(Job.admitted_at.desc())
        .limit(RECENTLY_ADMITTED)
        .correlate(None)
        .subquery("admitted")
    )
    count = func.count(admitted.c.admitted_at)
    since = case((count < RECENTLY_ADMITTED, oldest), else_=func.min(admitted.c.admitted_at))
    seconds = cast(func.extract("epoch", func.now() - since), Float)
    pace = select(seconds / func.nullif(count, 0)).scalar_subquery()
    return case((WAITING & Job.blocked_by.is_not(None), pace), else_=None)


def _places() -> Select[*tuple[Any, ...]]:
    query = select(_LINE.c.id, _LINE.c.place, pace_for_job()).join(Job, Job.id == _LINE.c.id)
    return query.where(_LINE.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))))


_PLACES = _places()


async def places(session: AsyncSession, job_ids: Sequence[UUID]) -> dict[UUID, Place]:
    """Return the places of queued jobs."""
    if not job_ids:
        return {}
    rows = await session.execute(_PLACES, {"ids": list(job_ids)})
    return {job_id: Place(position, pace) for job_id, position, pace in rows}


def eta(settings: Settings, job: Job, place: Place) -> float | None:
    """Return the estimated seconds until the job ends, from recent launches; None if unknown.

    A job waiting for a launch slot is admitted as launches end; for other capacity, as fast as others were admitted
    lately. A job that no pass has checked yet is estimated only if it is the first: what holds others may hold it too.
    """
    if not job.is_live or job.expected_seconds is None:
        return None
    if job.admitted_at is not None:
        return round(max(job.expected_seconds - (utcnow() - job.admitted_at).total_seconds(), 0.0), 1)
    if place.position is None:
        return None
    if job.blocked_by is None:
        return round(job.expected_seconds, 1) if place.position == 1 else None
    if job.blocked_by == "capacity_launches":
        return round(job.expected_seconds * (1 + math.ceil(place.position / settings.launches_at_once)), 1)
    if place.pace is None:
        return None
    return round(job.expected_seconds + place.pace * place.position, 1)
