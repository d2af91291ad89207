"""The owner's views of workspaces and jobs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Select, String, Uuid, any_, cast, func, literal, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.principal import PrincipalSelect
from app.catalog.templates import Template
from app.core.addresses import workspace_url
from app.core.errors import NotFound
from app.core.i18n import Locale
from app.core.reader import Columns, PreparedSelect, Row, given
from app.http.paging import newest_first
from app.models import LIVE_JOB, Image, Job, JobEvent, JobState, JobStep, User, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.workspaces import exits, idle
from app.workspaces.errors import explain
from app.workspaces.jobs import queue_position
from app.workspaces.jobs.queue_position import Place
from app.workspaces.schemas import IdleOut, JobFailure, JobOut, RestOut, TimelineEntry, WorkspaceOut
from app.workspaces.service import Accepted, owned_workspaces

_WORKSPACE, _JOB = Columns(Workspace), Columns(Job)


def _timeline(column: Any) -> ColumnElement[Any]:
    """Aggregate a column of the job's timeline, in order."""
    ordered = func.array_agg(aggregate_order_by(column, JobEvent.id))
    return select(ordered).where(JobEvent.job_id == Job.id).correlate(Job).scalar_subquery()


# A job's row, its timeline, its place, and the queue's pace.
_JOB_COLUMNS = (
    *_JOB.columns,
    *map(_timeline, (JobEvent.at, JobEvent.step, JobEvent.detail)),
    queue_position.place_of_job(),
    queue_position.pace_for_job(),
)
_FIND_JOB = PreparedSelect(select(*_JOB_COLUMNS).where(Job.id == given("job_id"), Job.user_id == given("user_id")))


def _with_job(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Join the users' job of an id."""
    return query.outerjoin(Job, (Job.id == given("job_id")) & (Job.user_id == User.id))


# For a poll with an ETag: the columns that form it.
JOB_TAG = PrincipalSelect(Job.version, queue_position.place_of_job(), joined=_with_job)
# For a poll without an ETag.
JOB = PrincipalSelect(*_JOB_COLUMNS, joined=_with_job)


async def read_job(resources: Resources, user_id: UUID, job_id: UUID, locale: Locale) -> tuple[JobOut, str]:
    """Return the user's job, with its container's last lines if it failed, and its ETag. One statement.

    Raises `NotFound` for unknown and foreign jobs alike.
    """
    row = await resources.reader.fetch_one(_FIND_JOB, job_id=job_id, user_id=user_id)
    if row is None:
        raise NotFound
    return make_job(resources, row, locale)


def make_job(resources: Resources, row: Row, locale: Locale) -> tuple[JobOut, str]:
    """Build a job's view and ETag from a row of `JOB`'s own columns. Raises `NotFound` for a row without job."""
    if row[0] is None:
        raise NotFound
    job, view = _read_job(resources, row, locale, logs=True)
    return view, tag(job.version, view.position, locale)


def _read_job(resources: Resources, row: Row, locale: Locale, *, logs: bool = False) -> tuple[Job, JobOut]:
    """Build a job and its view from a row of `_JOB_COLUMNS`."""
    width = len(_JOB.columns)
    job, (*timeline, position, pace) = _JOB.make(row[:width]), row[width:]
    entries = [
        TimelineEntry(at=at, step=step, detail=detail)
        for at, step, detail in zip(*(column or () for column in timeline), strict=True)
    ]
    return job, _view(resources, job, entries, Place(position, pace), locale, logs=logs)


async def list_jobs(session: AsyncSession, user_id: UUID, *, limit: int, before: UUID | None) -> list[Job]:
    """Return a page of the caller's jobs, newest first, older than the job `before`."""
    query = await newest_first(session, select(Job), Job, Job.user_id == user_id, limit=limit, before=before)
    return list(await session.scalars(query))


async def view_jobs(
    session: AsyncSession, resources: Resources, jobs: Sequence[Job], locale: Locale, *, logs: bool = False
) -> list[JobOut]:
    """Build views of jobs with timelines, and place and ETA while queued or running; `logs` adds kept lines of failed
    ones.
    """
    timelines: defaultdict[UUID, list[TimelineEntry]] = defaultdict(list)
    ids = [job.id for job in jobs]
    of_jobs = JobEvent.job_id == any_(cast(literal(ids, ARRAY(Uuid)), ARRAY(Uuid)))
    for event in await session.scalars(select(JobEvent).where(of_jobs).order_by(JobEvent.id)):
        timelines[event.job_id].append(TimelineEntry(at=event.at, step=event.step, detail=event.detail))
    places = await queue_position.places(session, [job.id for job in jobs if job.state == JobState.QUEUED])
    return [_view(resources, job, timelines[job.id], places.get(job.id, Place()), locale, logs=logs) for job in jobs]


async def view_accepted(
    session: AsyncSession, resources: Resources, accepted: Accepted, locale: Locale
) -> JobOut | None:
    """Build the view of a request's job, in the request's transaction."""
    if accepted.job is None:
        return None
    if accepted.place is None:
        return await view_job(session, resources, accepted.job, locale)
    return _view_new_job(resources, accepted.job, accepted.place, locale)


def _view_new_job(resources: Resources, job: Job, place: int, locale: Locale) -> JobOut:
    """Build the view of a newly accepted launch, without a read."""
    timeline = [TimelineEntry(at=job.created_at, step=JobStep.QUEUED, detail=None)]
    return _view(resources, job, timeline, Place(place), locale, logs=False)


def _view(
    resources: Resources, job: Job, timeline: list[TimelineEntry], place: Place, locale: Locale, *, logs: bool
) -> JobOut:
    return JobOut(
        id=job.id,
        kind=job.kind,
        type=job.template,
        platform=job.by_system,
        state=job.state,
        step=job.step,
        progress=job.progress,
        position=place.position,
        eta_seconds=queue_position.eta(resources.settings, job, place),
        waits_for=job.blocked_by,
        timeline=timeline,
        error=_failure(job, locale, logs=logs),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _failure(job: Job, locale: Locale, *, logs: bool) -> JobFailure | None:
    if job.error_code is None:
        return None
    log = job.log_tail.splitlines() if logs and job.log_tail is not None else None
    return JobFailure(code=job.error_code, message=explain(job.error_code, locale), exit_code=job.exit_code, log=log)


async def view_job(session: AsyncSession, resources: Resources, job: Job, locale: Locale) -> JobOut:
    """Build one job's view, with the container's last lines if it failed."""
    return (await view_jobs(session, resources, [job], locale, logs=True))[0]


def tag(version: int, place: int | None, locale: Locale) -> str:
    """Return the strong ETag (RFC 9110, 8.8.3) of a job's view: row version, place, language."""
    return f'"{version}.{place or 0}.{locale}"'


async def find_workspace(session: AsyncSession, user_id: UUID, template: str) -> Workspace | None:
    """Return the caller's workspace of a template, or None if never launched."""
    return await session.scalar(owned_workspaces(user_id).where(Workspace.template == template))


def status_of(workspace: Workspace | None) -> WorkspaceStatus:
    """Return the status of a row that may be missing."""
    return workspace.status if workspace else WorkspaceStatus.NOT_CREATED


def _with_live_jobs(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Join the users' workspaces and their live jobs.

    One statement: between two, a job could end, and the workspace would seem transitional for ever.
    """
    return query.outerjoin(Workspace, Workspace.user_id == User.id).outerjoin(Job, LIVE_JOB)


_DIGESTS = tuple(select(func.array_agg(column)).scalar_subquery() for column in (Image.name, Image.digest))
_ENTRY_COLUMNS = (*_DIGESTS, *_WORKSPACE.columns, *_JOB_COLUMNS)
_FIND_ENTRIES = PreparedSelect(
    _with_live_jobs(select(*_ENTRY_COLUMNS).select_from(User)).where(
        User.id == given("user_id"), Workspace.template == any_(cast(given("templates"), ARRAY(String)))
    )
)
# For the list of workspaces.
ENTRIES = PrincipalSelect(*_ENTRY_COLUMNS, joined=_with_live_jobs)
# For the status of one workspace.
STATUS = PrincipalSelect(
    Workspace.container_id,
    Workspace.status,
    joined=lambda query: query.outerjoin(
        Workspace, (Workspace.user_id == User.id) & (Workspace.template == given("template"))
    ),
)


async def find_entries(
    resources: Resources,
    user: User,
    templates: Sequence[Template],
    locale: Locale,
    *,
    session: AsyncSession | None = None,
) -> list[tuple[WorkspaceOut, str | None]]:
    """Return the user's workspaces of these templates, launched or not, each with its live job's ETag.

    One statement, in the transaction of `session` if given.
    """
    values = {"user_id": user.id, "templates": [template.key for template in templates]}
    if session is None:
        rows: Iterable[Row] = await resources.reader.fetch(_FIND_ENTRIES, **values)
    else:
        rows = await session.execute(_FIND_ENTRIES.statement, values)
    return make_entries(resources, user, templates, rows, locale)


def make_entries(
    resources: Resources, user: User, templates: Iterable[Template], rows: Iterable[Row], locale: Locale
) -> list[tuple[WorkspaceOut, str | None]]:
    """Build one entry per template from rows of `ENTRIES`' own columns."""
    digests: dict[str, str] = {}
    found: dict[str, tuple[Workspace, JobOut | None, str | None]] = {}
    for names, values, *columns in rows:
        digests = dict(zip(names or (), values or (), strict=True))
        workspace, job = columns[: len(_WORKSPACE.columns)], columns[len(_WORKSPACE.columns) :]
        if workspace[0] is not None:
            row = _WORKSPACE.make(tuple(workspace))
            found[row.template] = row, *_live_job(resources, tuple(job), locale)
    entries = []
    for template in templates:
        row_or_none, view, etag = found.get(template.key, (None, None, None))
        digest = digests.get(template.image)
        entries.append((_entry(resources, user, template, row_or_none, view, digest, locale), etag))
    return entries


def _live_job(resources: Resources, row: Row, locale: Locale) -> tuple[JobOut | None, str | None]:
    """Build view and ETag of a workspace's live job, if any."""
    if row[0] is None:
        return None, None
    job, view = _read_job(resources, row, locale)
    return view, tag(job.version, view.position, locale)


async def view_workspace(
    session: AsyncSession, resources: Resources, user: User, template: Template, locale: Locale
) -> WorkspaceOut:
    """Return the user's workspace of one template, as in the list, in the session's transaction."""
    ((entry, _),) = await find_entries(resources, user, [template], locale, session=session)
    return entry


def _entry(
    resources: Resources,
    user: User,
    template: Template,
    row: Workspace | None,
    job: JobOut | None,
    digest: str | None,
    locale: Locale,
) -> WorkspaceOut:
    code = row.error_code if row else None
    return WorkspaceOut(
        type=template.key,
        display_name=template.name.format(locale),
        description=template.description.format(locale),
        status=status_of(row),
        service_url=workspace_url(resources.settings, user.slug, template.key),
        container_id=row.container_id if row else None,
        created_at=row.created_at if row else None,
        last_used=row.last_used if row else None,
        outdated=_outdated(row, digest),
        job=job,
        error=JobFailure(code=code, message=explain(code, locale), exit_code=row.exit_code) if row and code else None,
        idle=_idle(template, row),
        rest=_rest(row, locale),
        last_exit=exits.last_exit(row, locale),
        memory_kills=exits.memory_kills(row, locale),
    )


def _idle(template: Template, workspace: Workspace | None) -> IdleOut | None:
    life = idle.idle_schedule(template, workspace, utcnow()) if workspace else None
    return IdleOut.model_validate(life, from_attributes=True) if life else None


def _rest(workspace: Workspace | None, locale: Locale) -> RestOut | None:
    if workspace is None or workspace.rest_reason is None or workspace.status not in idle.RESTING:
        return None
    reason = idle.IdleReason(workspace.rest_reason)
    return RestOut(code=reason.value, message=idle.REASONS[reason].format(locale))


def _outdated(workspace: Workspace | None, digest: str | None) -> bool:
    """Return whether the image is newer than the workspace's."""
    own = workspace.image_digest if workspace else None
    return own is not None and digest is not None and own != digest


async def last_failure(session: AsyncSession, user_id: UUID, template: str) -> Job | None:
    """Return the latest failed job of the user's workspace, with its container's kept lines."""
    query = select(Job).where(Job.user_id == user_id, Job.template == template, Job.state == JobState.FAILED)
    return await session.scalar(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(1))
