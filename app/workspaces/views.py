"""Reading: workspaces and jobs as their owner sees them."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalog.templates import Template
from app.core.addresses import workspace_url
from app.core.errors import NotFound
from app.core.i18n import Locale
from app.http.paging import newest_first
from app.models import LIVE_JOB, Image, Job, JobEvent, JobState, JobStep, User, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.workspaces import exits, idle
from app.workspaces.errors import explain
from app.workspaces.jobs import queue_position
from app.workspaces.schemas import IdleOut, JobFailure, JobOut, RestOut, TimelineEntry, WorkspaceOut
from app.workspaces.service import Accepted, owned_workspaces


async def get_job(session: AsyncSession, user_id: UUID, job_id: UUID) -> Job:
    """The caller's job; raises `NotFound` for unknown and foreign ones alike."""
    job = await session.scalar(select(Job).where(Job.id == job_id, Job.user_id == user_id))
    if job is None:
        raise NotFound
    return job


async def list_jobs(session: AsyncSession, user_id: UUID, *, limit: int, before: UUID | None) -> list[Job]:
    """A page of the caller's jobs, newest first, older than the job `before`."""
    query = await newest_first(session, select(Job), Job, Job.user_id == user_id, limit=limit, before=before)
    return list(await session.scalars(query))


async def view_jobs(
    session: AsyncSession, resources: Resources, jobs: Sequence[Job], locale: Locale, *, logs: bool = False
) -> list[JobOut]:
    """Jobs with their timelines, and place and ETA where they still wait or run; `logs` adds what failed ones left."""
    timelines: defaultdict[UUID, list[TimelineEntry]] = defaultdict(list)
    ids = [job.id for job in jobs]
    for event in await session.scalars(select(JobEvent).where(JobEvent.job_id.in_(ids)).order_by(JobEvent.id)):
        timelines[event.job_id].append(TimelineEntry(at=event.at, step=event.step, detail=event.detail))
    places = await queue_position.positions(session, [job.id for job in jobs if job.state == JobState.QUEUED])
    return [_view(resources, job, timelines[job.id], places.get(job.id), locale, logs=logs) for job in jobs]


async def view_accepted(
    session: AsyncSession, resources: Resources, accepted: Accepted, locale: Locale
) -> JobOut | None:
    """The job that a request came to, in the transaction of the request."""
    if accepted.job is None:
        return None
    if accepted.place is None:
        return await view_job(session, resources, accepted.job, locale)
    return _view_new_job(resources, accepted.job, accepted.place, locale)


def _view_new_job(resources: Resources, job: Job, place: int, locale: Locale) -> JobOut:
    """A launch that this transaction has accepted: what the rows say of it is known without a read."""
    timeline = [TimelineEntry(at=job.created_at, step=JobStep.QUEUED, detail=None)]
    return _view(resources, job, timeline, place, locale, logs=False)


def _view(
    resources: Resources, job: Job, timeline: list[TimelineEntry], place: int | None, locale: Locale, *, logs: bool
) -> JobOut:
    return JobOut(
        id=job.id,
        kind=job.kind,
        type=job.template,
        platform=job.by_system,
        state=job.state,
        step=job.step,
        progress=job.progress,
        position=place,
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
    """One job, as `view_jobs` shows it, with the container's last lines where it failed."""
    return (await view_jobs(session, resources, [job], locale, logs=True))[0]


def tag(view: JobOut, version: int, locale: Locale) -> str:
    """The strong ETag (RFC 9110, 8.8.3) of a job's view: the row's version, the place in the queue, the language."""
    return f'"{version}.{view.position or 0}.{locale}"'


async def find_workspace(session: AsyncSession, user_id: UUID, template: str) -> Workspace | None:
    """The caller's workspace of a template, or None where it was never launched."""
    return await session.scalar(owned_workspaces(user_id).where(Workspace.template == template))


def status_of(workspace: Workspace | None) -> WorkspaceStatus:
    """The status of a row that may be missing."""
    return workspace.status if workspace else WorkspaceStatus.NOT_CREATED


async def list_workspaces(
    session: AsyncSession, resources: Resources, user: User, locale: Locale
) -> list[WorkspaceOut]:
    """One entry for each template, launched or not."""
    return [entry for entry, _ in await list_tagged_workspaces(session, resources, user, locale)]


async def list_tagged_workspaces(
    session: AsyncSession, resources: Resources, user: User, locale: Locale
) -> list[tuple[WorkspaceOut, str | None]]:
    """One entry for each template, launched or not, each with the ETag of its live job."""
    # One statement: between two, a job could end, and its workspace would seem to be on its way for ever.
    query = select(Workspace, Job).outerjoin(Job, LIVE_JOB).where(Workspace.user_id == user.id)
    digests = dict((await session.execute(select(Image.name, Image.digest))).all())
    rows: dict[str, tuple[Workspace, Job | None]] = {}
    for workspace, live_job in await session.execute(query):
        rows[workspace.template] = (workspace, live_job)
    jobs = [job for _, job in rows.values() if job is not None]
    views = {job.id: view for job, view in zip(jobs, await view_jobs(session, resources, jobs, locale), strict=True)}
    entries = []
    for template in resources.catalog.templates:
        row, job = rows.get(template.key, (None, None))
        view = views[job.id] if job else None
        entry = _entry(resources, user, template, row, view, digests.get(template.image), locale)
        entries.append((entry, tag(view, job.version, locale) if view and job else None))
    return entries


async def view_workspace(
    session: AsyncSession, resources: Resources, user: User, template: Template, locale: Locale
) -> WorkspaceOut:
    """The user's workspace of one template, as the list shows it."""
    entries = await list_workspaces(session, resources, user, locale)
    return next(entry for entry in entries if entry.type == template.key)


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
    """Whether the image's name stands for something newer than what the workspace was made from."""
    own = workspace.image_digest if workspace else None
    return own is not None and digest is not None and own != digest


async def last_failure(session: AsyncSession, user_id: UUID, template: str) -> Job | None:
    """The latest job of the user's workspace that failed, with the lines that its container left."""
    query = select(Job).where(Job.user_id == user_id, Job.template == template, Job.state == JobState.FAILED)
    return await session.scalar(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(1))
