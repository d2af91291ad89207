"""Queue positions of jobs, and their estimated time to completion."""

import math
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Subquery, Uuid, any_, case, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.settings.model import Settings
from app.models import Job, JobState, utcnow
from app.workspaces.admission import fair_order


def _line() -> Subquery:
    """Queued jobs with their places: admitted ones first, then in fair order."""
    order = fair_order()
    place = func.row_number().over(order_by=(Job.admitted_at.asc().nulls_last(), order.c.turn, order.c.since, Job.id))
    return (
        select(Job.id, place.label("place"))
        .outerjoin(order, order.c.id == Job.id)
        .where(Job.state == JobState.QUEUED)
        .subquery()
    )


def place_of_job() -> ColumnElement[int | None]:
    """The place of the query's `Job`, from 1; null unless queued. Reads the queue only for queued jobs."""
    line = _line()
    place = select(line.c.place).where(line.c.id == Job.id).correlate(Job).scalar_subquery()
    return case((Job.state == JobState.QUEUED, place), else_=None)


async def positions(session: AsyncSession, job_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return the places of queued jobs, from 1."""
    if not job_ids:
        return {}
    line = _line()
    wanted = cast(literal(list(job_ids), ARRAY(Uuid)), ARRAY(Uuid))
    rows = await session.execute(select(line.c.id, line.c.place).where(line.c.id == any_(wanted)))
    return dict(rows.all())


def eta(settings: Settings, job: Job, position: int | None) -> float | None:
    """Return the estimated seconds until the job ends, from recent launches; None if unknown.

    A job waiting for a launch slot is admitted as launches end; for other capacity there is no estimate. A job that no
    pass has checked yet joins the next pass.
    """
    if not job.is_live or job.expected_seconds is None:
        return None
    if job.admitted_at is not None:
        return round(max(job.expected_seconds - (utcnow() - job.admitted_at).total_seconds(), 0.0), 1)
    if job.blocked_by not in (None, "capacity_launches") or position is None:
        return None
    ahead = position if job.blocked_by else position - 1
    return round(job.expected_seconds * (1 + math.ceil(ahead / settings.launches_at_once)), 1)
