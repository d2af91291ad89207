"""The state machine of workspaces and jobs: requests, observations, and `move`.

A workspace has a desired state, written by requests, and a status, the last observation. Only `move` and `moving`
write a status, and only along `TRANSITIONS`.
"""

import enum
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BindParameter, Integer, Uuid, any_, bindparam, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningUpdate

from app.core.outbox import JobName
from app.core.settings.model import Settings
from app.models import DesiredState, JobKind, JobStep, Workspace, WorkspaceStatus, utcnow
from app.runtime.base import RunState

S = WorkspaceStatus

SETTLED = frozenset({S.NOT_CREATED, S.RUNNING, S.PAUSED, S.STOPPED, S.ERROR})
STARTING_STATES = frozenset({S.QUEUED, S.PULLING, S.CREATING, S.STARTING, S.PROBING})
ALIVE = frozenset({S.RUNNING, S.PAUSED})
# Launch, stop and delete may be requested in any state.
_ASKED = frozenset({S.QUEUED, S.STOPPING, S.DELETING})

TRANSITIONS: dict[WorkspaceStatus, frozenset[WorkspaceStatus]] = {
    S.NOT_CREATED: _ASKED,
    **dict.fromkeys(STARTING_STATES, _ASKED | STARTING_STATES | SETTLED),
    S.RUNNING: _ASKED | STARTING_STATES | {S.RUNNING, S.PAUSED, S.STOPPED, S.ERROR},
    S.PAUSED: _ASKED | STARTING_STATES | {S.RUNNING, S.PAUSED, S.STOPPED, S.ERROR},
    S.STOPPING: _ASKED | SETTLED,
    S.DELETING: _ASKED | SETTLED,
    S.STOPPED: _ASKED | {S.STOPPED, S.NOT_CREATED},
    S.ERROR: _ASKED | {S.ERROR, S.STOPPED, S.NOT_CREATED},
}
SOURCES = {to: [status for status in S if to in TRANSITIONS[status]] for to in S}

# States without a claim on memory and CPU.
RELEASED = frozenset({S.NOT_CREATED, S.STOPPED, S.ERROR})

STOP_SECONDS = 120


def job_name(kind: JobKind) -> JobName:
    """Return the function, and so the queue, of a job's kind: stopping never waits behind launches."""
    return JobName.LAUNCH if kind in STARTING else JobName.END


def allowed(settings: Settings, status: WorkspaceStatus) -> timedelta:
    """Return the maximum duration of a transitional state, with retries; then its job fails with `deadline`.

    Waiting for capacity has its own limit. All starting states share one, which pull progress extends.
    """
    if status == S.QUEUED:
        return timedelta(seconds=settings.queue_seconds)
    if status in STARTING_STATES:
        return timedelta(seconds=settings.launch_seconds)
    return timedelta(seconds=STOP_SECONDS)


async def move(
    session: AsyncSession, workspace_id: UUID, generation: int, to: WorkspaceStatus, /, **values: Any
) -> bool:
    """Write a status with its values; False if a newer request came, or the transition is illegal."""
    if to in RELEASED:
        values |= {"host": None, "port": None, "reserved_memory": None, "reserved_cpus": None, "started_at": None}
    row = (
        update(Workspace)
        .where(Workspace.id == workspace_id, Workspace.generation == generation, Workspace.status.in_(SOURCES[to]))
        .values(status=to, status_at=utcnow(), **values)
        .returning(Workspace.id)
    )
    return await session.scalar(row, execution_options={"synchronize_session": "evaluate"}) is not None


def moving(**values: Any) -> ReturningUpdate[tuple[UUID]]:
    """Build what `move` does, as part of a statement that is built once. `move_to` returns its parameters."""
    sources: BindParameter[Any] = bindparam("sources", type_=ARRAY(Workspace.status.type))
    return (
        update(Workspace)
        .where(
            Workspace.id == bindparam("of_workspace", type_=Uuid()),
            Workspace.generation == bindparam("of_generation", type_=Integer()),
            Workspace.status == any_(sources),
        )
        .values(
            status=bindparam("new_status", type_=Workspace.status.type),
            status_at=bindparam("now", type_=Workspace.status_at.type),
            **values,
        )
        .returning(Workspace.id)
    )


def move_to(workspace_id: UUID, generation: int, to: WorkspaceStatus | None, now: datetime) -> dict[str, Any]:
    """Return the parameters of `moving`; None moves nothing. Released states need `move`, which writes more."""
    sources = SOURCES[to] if to is not None else []
    return {"of_workspace": workspace_id, "of_generation": generation, "sources": sources, "new_status": to, "now": now}


class Decision(enum.Enum):
    """The decision about a request."""

    NOTHING_TO_DO = enum.auto()
    SAME_JOB = enum.auto()
    NEW_JOB = enum.auto()
    SUPERSEDE = enum.auto()


# States in which a request of a kind has nothing to do, unless the engine must be checked.
_DONE = {
    JobKind.LAUNCH: {S.RUNNING},
    JobKind.RESTART: set[WorkspaceStatus](),
    JobKind.PAUSE: {S.PAUSED},
    JobKind.STOP: {S.STOPPED, S.NOT_CREATED},
    JobKind.DELETE: {S.NOT_CREATED},
}

DESIRED_BY = {
    JobKind.LAUNCH: DesiredState.RUNNING,
    JobKind.RESTART: DesiredState.RUNNING,
    JobKind.PAUSE: DesiredState.PAUSED,
    JobKind.STOP: DesiredState.STOPPED,
    JobKind.DELETE: DesiredState.ABSENT,
}

# The desired state of a workspace left at a settled status.
DESIRED_AT = {
    S.NOT_CREATED: DesiredState.ABSENT,
    S.RUNNING: DesiredState.RUNNING,
    S.PAUSED: DesiredState.PAUSED,
    S.STOPPED: DesiredState.STOPPED,
    S.ERROR: DesiredState.STOPPED,
}

STARTING = (JobKind.LAUNCH, JobKind.RESTART)


def decide(kind: JobKind, status: WorkspaceStatus, live: JobKind | None, *, make_sure: bool = False) -> Decision:
    """Decide about a request by the row's status and its live job.

    A request joins a live job that fulfils it: a launch joins a launch or restart, others their own kind. Otherwise it
    replaces the live job. `make_sure` starts a job even if the row says that nothing is to do, to detect a missing
    container.
    """
    if live is not None:
        joins = kind == live or (kind == JobKind.LAUNCH and live == JobKind.RESTART)
        return Decision.SAME_JOB if joins else Decision.SUPERSEDE
    if status in _DONE[kind] and not make_sure:
        return Decision.NOTHING_TO_DO
    return Decision.NEW_JOB


def asked_status(kind: JobKind, status: WorkspaceStatus) -> WorkspaceStatus:
    """Return the workspace's status after a new job.

    A pause shows once it has happened. A running container stays reachable until a launch changes it.
    """
    if kind == JobKind.PAUSE or (kind == JobKind.LAUNCH and status == S.RUNNING):
        return status
    return {JobKind.STOP: S.STOPPING, JobKind.DELETE: S.DELETING}.get(kind, S.QUEUED)


class Verdict(enum.Enum):
    """The meaning of an observation for a workspace without live job."""

    AS_IT_IS = enum.auto()
    RUNS = enum.auto()
    IS_PAUSED = enum.auto()
    DIED = enum.auto()
    LAUNCH = enum.auto()
    STOP = enum.auto()
    DELETE = enum.auto()


_DRIVE = {DesiredState.RUNNING: Verdict.LAUNCH, DesiredState.PAUSED: Verdict.LAUNCH, DesiredState.STOPPED: Verdict.STOP}


def decide_repair(status: WorkspaceStatus, wanted: DesiredState, seen: RunState) -> Verdict:
    """Compare a row with the engine: adopt manual changes of a living workspace, drive all others to the
    desired state.
    """
    exists = seen is not RunState.ABSENT
    alive = seen in (RunState.RUNNING, RunState.PAUSED)
    if status not in SETTLED:
        # A transitional status without a job comes from a backup: drive it to its desired state.
        return _DRIVE.get(wanted, Verdict.DELETE)
    if status in ALIVE:
        if seen is RunState.RUNNING:
            return Verdict.RUNS
        return Verdict.IS_PAUSED if seen is RunState.PAUSED else Verdict.DIED
    if wanted == DesiredState.ABSENT:
        return Verdict.DELETE if exists or status != S.NOT_CREATED else Verdict.AS_IT_IS
    return Verdict.STOP if alive else Verdict.AS_IT_IS


# The workspace's status at a job's step. Other steps leave it unchanged.
STATUS_AT: dict[JobStep, WorkspaceStatus] = {
    JobStep.PULLING: S.PULLING,
    JobStep.CREATING: S.CREATING,
    JobStep.STARTING: S.STARTING,
    JobStep.PROBING: S.PROBING,
    JobStep.STOPPING: S.STOPPING,
    JobStep.DELETING: S.DELETING,
}

# Percent done at the start of a step; a pull advances to the next by bytes.
PROGRESS_AT: dict[JobStep, int] = {
    JobStep.QUEUED: 0,
    JobStep.CLAIMED: 5,
    JobStep.PULLING: 10,
    JobStep.CREATING: 60,
    JobStep.STARTING: 70,
    JobStep.PROBING: 85,
    JobStep.PAUSING: 50,
    JobStep.STOPPING: 30,
    JobStep.DELETING: 30,
    JobStep.READY: 100,
    JobStep.DONE: 100,
}


def pull_progress(done: int | None, total: int | None) -> int:
    """Return the job's percent done during a pull."""
    low, high = PROGRESS_AT[JobStep.PULLING], PROGRESS_AT[JobStep.CREATING]
    if not done or not total:
        return low
    return low + int((high - low) * min(done / total, 1))
