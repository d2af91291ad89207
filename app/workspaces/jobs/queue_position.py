"""The places of jobs in the queue, and the time until they end."""

import math
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Subquery, Uuid, any_, case, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.settings.model import Settings
from app.models import Job, JobState, utcnow
from app.workspaces.admission import fair_order


def _line() -> Subquery:
    """Queued jobs with their places: admitted ones come first, then whose turn it is."""
    order = fair_order()
    place = func.row_number().over(order_by=(Job.admitted_at.asc().nulls_last(), order.c.turn, order.c.since, Job.id))
    return (
        select(Job.id, place.label("place"))
        .outerjoin(order, order.c.id == Job.id)
        .where(Job.state == JobState.QUEUED)
        .subquery()
    )


def place_of_job() -> ColumnElement[int | None]:
    """The place of the query's `Job`, from 1; null unless it is queued. The queue is read for a queued job only."""
    line = _line()
    place = select(line.c.place).where(line.c.id == Job.id).correlate(Job).scalar_subquery()
    return case((Job.state == JobState.QUEUED, place), else_=None)


async def positions(session: AsyncSession, job_ids: Sequence[UUID]) -> dict[UUID, int]:
    """The places of queued jobs, from 1."""
    if not job_ids:
        return {}
    line = _line()
    wanted = cast(literal(list(job_ids), ARRAY(Uuid)), ARRAY(Uuid))
    rows = await session.execute(select(line.c.id, line.c.place).where(line.c.id == any_(wanted)))
    return dict(rows.all())


def eta(settings: Settings, job: Job, position: int | None) -> float | None:
    """Seconds until the job has probably ended, by what recent launches took; None where nobody can say.

    A job that waits for its turn at the engine is admitted as launches end; one that waits for room, when somebody
    stops. One that no pass has judged yet takes part in the next one.
    """
    if not job.is_live or job.expected_seconds is None:
        return None
    if job.admitted_at is not None:
        return round(max(job.expected_seconds - (utcnow() - job.admitted_at).total_seconds(), 0.0), 1)
    if job.blocked_by not in (None, "capacity_launches") or position is None:
        return None
    ahead = position if job.blocked_by else position - 1
    return round(job.expected_seconds * (1 + math.ceil(ahead / settings.launches_at_once)), 1)
