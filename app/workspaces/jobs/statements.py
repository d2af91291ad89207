"""The statements that each launch's job runs in a worker. Built once: building one takes longer than running it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    Boolean,
    ColumnElement,
    Insert,
    Select,
    Uuid,
    bindparam,
    case,
    column,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, aliased

from app.models import Installation, Job, JobEvent, JobState, JobStep, Network, Seat, SeatState, User, Workspace
from app.workspaces.states import PROGRESS_AT, moving

_NOW = bindparam("now", type_=Job.lease_until.type)
_JOB, _LEASE = bindparam("of_job", type_=Uuid()), bindparam("of_lease", type_=Uuid())
_LINE = (JobEvent.job_id, JobEvent.at, JobEvent.step)


def _given(attribute: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """A column's new value. A parameter with a column's own name would be written to any table with that column."""
    return bindparam(f"new_{attribute.key}", type_=attribute.type)


def _claimable() -> Select[Workspace, str, int, UUID, UUID]:
    """Lock the workspace of a live job; returns what its claim needs."""
    return (
        select(Workspace, User.slug, Network.index, Seat.id, select(Installation.uid).scalar_subquery())
        .join(Job, Job.workspace_id == Workspace.id)
        .join(User, User.id == Workspace.user_id)
        .outerjoin(Network, Network.workspace_id == Workspace.id)
        .outerjoin(Seat, (Seat.id == Workspace.seat_id) & (Seat.state == SeatState.CLAIMED))
        .where(Job.id == _JOB, Job.is_live)
        .with_for_update(of=Workspace, key_share=True)
    )


def _taken() -> Select[Any]:
    """Take a job that is due or whose lease expired, unless another job of its workspace is held."""
    due = (Job.state == JobState.QUEUED) & (Job.run_at <= _NOW) & Job.admitted_at.is_not(None)
    orphaned = (Job.state == JobState.RUNNING) & (Job.lease_until < _NOW)
    other = aliased(Job)
    held = select(other.id).where(other.workspace_id == Job.workspace_id, other.id != Job.id, other.lease_until > _NOW)
    taken = (
        update(Job)
        .where(Job.id == _JOB, Job.deadline > _NOW, or_(due, orphaned), ~held.exists())
        .values(
            state=JobState.RUNNING,
            step=JobStep.CLAIMED,
            progress=PROGRESS_AT[JobStep.CLAIMED],
            engine_contacted=True,
            attempts=Job.attempts + 1,
            version=Job.version + 1,
            started_at=func.coalesce(Job.started_at, _NOW),
            lease=_LEASE,
            lease_until=_given(Job.lease_until),
        )
        .returning(Job.id, Job.kind, Job.attempts, Job.generation, Job.deadline)
        .cte("taken")
    )
    line = select(taken.c.id, _NOW, literal(JobStep.CLAIMED, JobEvent.step.type))
    return select(taken.c.kind, taken.c.attempts, taken.c.generation, taken.c.deadline).add_cte(_written(line))


def _advanced(workspace: Mapping[str, Any], job: Mapping[str, Any]) -> Select[Any]:
    """Move the workspace, and write the job and lines of its timeline while the lease holds."""
    moved = moving(**workspace).cte("moved")
    changed = (
        update(Job)
        # Counting the first update runs it before this one locks its row: rows are locked in one order everywhere.
        .where(Job.id == _JOB, Job.lease == _LEASE, Job.state == JobState.RUNNING, _count(moved) >= 0)
        .values(version=Job.version + 1, step=_given(Job.step), progress=_given(Job.progress), **job)
        .returning(Job.id)
        .cte("changed")
    )
    steps = bindparam("steps", type_=ARRAY(JobEvent.step.type))
    times = bindparam("times", type_=ARRAY(JobEvent.at.type))
    lines = (
        func.unnest(steps, times)
        .table_valued(column("step", JobEvent.step.type), column("at", JobEvent.at.type), with_ordinality="place")
        .render_derived("lines")
    )
    each = select(changed.c.id, lines.c.at, lines.c.step)
    return select(changed.c.id).add_cte(_written(each.select_from(changed.join(lines, literal(True)))))


def _count(rows: CTE) -> ColumnElement[int]:
    return select(func.count()).select_from(rows).scalar_subquery()


def _written(lines: Select[Any]) -> CTE:
    row: Insert = insert(JobEvent).from_select(list(_LINE), lines)
    return row.cte("written")


# A resumed or already running container continues the same run.
_CONTINUED = case((Workspace.started_at.is_not(None), Workspace.memory_kills), else_=0)
_RESTARTED = bindparam("restarted", type_=Boolean())

CLAIMABLE = _claimable()
TAKEN = _taken()
ADVANCED = _advanced({}, {})
STARTED = _advanced(
    {
        "desired_state": _given(Workspace.desired_state),
        "host": _given(Workspace.host),
        "port": _given(Workspace.port),
        "container_id": _given(Workspace.container_id),
        "image_digest": _given(Workspace.image_digest),
        "memory_kills": case((_RESTARTED, 0), else_=_CONTINUED),
        "started_at": case((_RESTARTED, _NOW), else_=func.coalesce(Workspace.started_at, _NOW)),
        "active_at": func.greatest(Workspace.active_at, _NOW),
    },
    {"state": JobState.SUCCEEDED, "finished_at": _NOW, "lease": None, "lease_until": None},
)
RENEWED = (
    update(Job)
    .where(Job.id == _JOB, Job.lease == _LEASE, Job.lease_until > _NOW)
    .values(lease_until=_given(Job.lease_until))
    .returning(Job.state, Job.deadline)
)
