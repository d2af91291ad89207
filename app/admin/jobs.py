"""Jobs of all users."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.admin.schemas import AdminJobOut, OwnerOut
from app.core.db import plain
from app.core.errors import NotFound
from app.core.i18n import Locale
from app.http.paging import newest_first
from app.models import Job, JobKind, JobState, User
from app.resources import Resources
from app.workspaces import service, views


@dataclass(frozen=True, slots=True)
class JobFilter:
    """A filter; None matches everything."""

    state: JobState | None = None
    kind: JobKind | None = None
    user_id: UUID | None = None
    error_code: str | None = None


async def list_jobs(
    session: AsyncSession, resources: Resources, wanted: JobFilter, locale: Locale, *, limit: int, before: UUID | None
) -> list[AdminJobOut]:
    """Return a page of all jobs, newest first. Raises `NotFound` for `before`."""
    query = await newest_first(session, _everybodys(), Job, limit=limit, before=before)
    if wanted.state is not None:
        query = query.where(Job.state == wanted.state)
    if wanted.kind is not None:
        query = query.where(Job.kind == wanted.kind)
    if wanted.user_id is not None:
        query = query.where(Job.user_id == wanted.user_id)
    if wanted.error_code is not None:
        query = query.where(Job.error_code == plain(wanted.error_code))
    rows = (await session.execute(query)).all()
    return await _views(session, resources, rows, locale, logs=False)


async def get_job(session: AsyncSession, resources: Resources, job_id: UUID, locale: Locale) -> AdminJobOut:
    """Return one job, with its container's last output if it failed. Raises `NotFound`."""
    row = await _find(session, job_id)
    return (await _views(session, resources, [row], locale, logs=True))[0]


async def cancel(
    session: AsyncSession, resources: Resources, job_id: UUID, locale: Locale, *, admin: User
) -> AdminJobOut:
    """Cancel a job on behalf of the admin. Raises `NotFound`, `NotCancellable`."""
    _, owner = await _find(session, job_id)
    await service.cancel(session, resources, owner, job_id, by=admin)
    return await get_job(session, resources, job_id, locale)


def _everybodys() -> Select[Job, User]:
    return select(Job, User).join(User, User.id == Job.user_id)


async def _find(session: AsyncSession, job_id: UUID) -> Any:
    row = (await session.execute(_everybodys().where(Job.id == job_id))).one_or_none()
    if row is None:
        raise NotFound
    return row


async def _views(
    session: AsyncSession, resources: Resources, rows: Sequence[Any], locale: Locale, *, logs: bool
) -> list[AdminJobOut]:
    jobs = await views.view_jobs(session, resources, [job for job, _ in rows], locale, logs=logs)
    return [
        AdminJobOut(
            owner=OwnerOut.model_validate(owner, from_attributes=True),
            workspace_id=job.workspace_id,
            cause=job.cause,
            job=view,
        )
        for (job, owner), view in zip(rows, jobs, strict=True)
    ]
