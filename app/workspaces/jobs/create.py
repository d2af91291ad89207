"""Inserts jobs: the row, its first timeline entry, and what it makes of its workspace."""

from datetime import timedelta
from typing import Any

from sqlalchemy import BindParameter, Boolean, ScalarSelect, bindparam, case, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.selectable import ExecutableReturnsRows

from app.core.logging import bind_to_request
from app.core.outbox import enqueue, wake_admission
from app.models import (
    Job,
    JobEvent,
    JobKind,
    JobState,
    JobStep,
    Seat,
    Workspace,
    WorkspaceStatus,
    utcnow,
)
from app.resources import Resources
from app.workspaces import admission, seats
from app.workspaces.states import ALIVE, DESIRED_BY, SETTLED, STARTING, asked_status, job_name, move

RECENT_LAUNCHES = 20


async def create_job(
    session: AsyncSession,
    resources: Resources,
    workspace: Workspace,
    kind: JobKind,
    *,
    by_system: bool = False,
    after: Job | None = None,
    defer: timedelta | None = None,
    reason: str | None = None,
    seat: Seat | None = None,
) -> Job:
    """Insert the job and update its workspace. `after` is the job that it replaces.

    A launch without `seat` waits for admission; stop and delete do not.
    """
    previous = _left_by(after) if after else workspace.status
    waits = kind in STARTING and seat is None
    await _move(session, resources, workspace, kind, reason=reason, seat=seat)
    now = utcnow()
    row = {
        "workspace_id": workspace.id,
        "user_id": workspace.user_id,
        "template": workspace.template,
        "kind": kind,
        "by_system": by_system,
        "generation": workspace.generation,
        "previous_status": previous if previous in SETTLED else WorkspaceStatus.ERROR,
        "engine_contacted": after.engine_contacted if after else seat is not None,
        "admitted_at": None if waits else now,
        "run_at": now + (defer or timedelta(0)),
        "deadline": now + (defer or timedelta(0)) + admission.time_for(resources.settings, kind, waits=waits),
    }
    line = {"detail": reason or ("warm_seat" if seat else None), "starts": kind in STARTING}
    job: Job = (await session.scalars(_NEW, {f"job_{name}": value for name, value in row.items()} | line)).one()
    bind_to_request(job_id=str(job.id), workspace_id=str(workspace.id))
    if waits:
        wake_admission(session)
    else:
        enqueue(session, job_name(kind), job.id, defer=defer)
    return job


async def _move(
    session: AsyncSession,
    resources: Resources,
    workspace: Workspace,
    kind: JobKind,
    *,
    reason: str | None,
    seat: Seat | None,
) -> None:
    """Write to the workspace what the job asks for, and the seat that a launch takes."""
    await move(
        session,
        workspace.id,
        workspace.generation,
        asked_status(kind, workspace.status),
        generation=workspace.generation + 1,
        desired_state=DESIRED_BY[kind],
        error_code=None,
        exit_code=None,
        rest_reason=reason,
        **({"kept_until": None} if kind in (JobKind.STOP, JobKind.DELETE) else {}),
    )
    if seat is not None:
        # The container answers already. The job renames it and checks it once more.
        status = WorkspaceStatus.RUNNING if seats.is_complete(resources.catalog, seat) else WorkspaceStatus.QUEUED
        await move(session, workspace.id, workspace.generation, status, **seats.taken_over(seat))


def _left_by(job: Job) -> WorkspaceStatus:
    """Return the settled status after a superseded job; the previous one if the engine was not contacted."""
    if job.engine_contacted and job.kind == JobKind.DELETE:
        return WorkspaceStatus.NOT_CREATED
    if job.engine_contacted and job.kind == JobKind.STOP:
        return WorkspaceStatus.STOPPED if job.previous_status in ALIVE else job.previous_status
    return job.previous_status


def _expected_seconds() -> ScalarSelect[float]:
    """Estimate a launch's seconds from recent ones of the template."""
    seconds = func.extract("epoch", Job.finished_at - func.coalesce(Job.admitted_at, Job.created_at))
    recent = (
        select(seconds.label("took"))
        .where(Job.template == _given(Job.template), Job.state == JobState.SUCCEEDED, Job.kind.in_(STARTING))
        .order_by(Job.finished_at.desc())
        .limit(RECENT_LAUNCHES)
        .subquery()
    )
    return select(func.percentile_cont(0.5).within_group(recent.c.took)).scalar_subquery()


def _given(column: InstrumentedAttribute[Any]) -> BindParameter[Any]:
    return bindparam(f"job_{column.key}", type_=column.type)


def _new_job() -> ExecutableReturnsRows:
    """Insert a job and its first timeline line in one statement."""
    columns: list[InstrumentedAttribute[Any]] = [Job.workspace_id, Job.user_id, Job.template, Job.kind, Job.by_system]
    columns += [Job.generation, Job.previous_status, Job.engine_contacted, Job.admitted_at, Job.run_at, Job.deadline]
    expected = case((bindparam("starts", type_=Boolean()), _expected_seconds()), else_=None)
    row = insert(Job).values({**{column.key: _given(column) for column in columns}, "expected_seconds": expected})
    made = row.returning(Job).cte("made")
    step = literal(JobStep.QUEUED, JobEvent.step.type)
    first = select(made.c.id, made.c.created_at, step, bindparam("detail", type_=JobEvent.detail.type))
    line = insert(JobEvent).from_select([JobEvent.job_id, JobEvent.at, JobEvent.step, JobEvent.detail], first)
    return select(Job).from_statement(select(made).add_cte(line.cte("line")))


# Built once: building takes ten times as long as running.
_NEW = _new_job()
