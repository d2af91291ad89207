"""The state machine of workspaces and their jobs: what a request does, and what each step looks like from outside."""

import enum

from app.models import JobKind, JobStep, WorkspaceStatus


class Decision(enum.Enum):
    """What becomes of a request."""

    ALREADY_RUNNING = enum.auto()
    SAME_JOB = enum.auto()
    NEW_JOB = enum.auto()
    SUPERSEDE = enum.auto()


def decide(kind: JobKind, status: WorkspaceStatus, live: JobKind | None, *, make_sure: bool = False) -> Decision:
    """Judge a request by the row's state and its live job.

    A request that the live job fulfils joins it: a launch joins a launch or a restart, a restart joins a restart.
    Any other newer request replaces the live job. `make_sure` runs a launch even where the row says `running`,
    for callers who want a container that is gone to be noticed.
    """
    if live is not None:
        joins = kind == live or (kind == JobKind.LAUNCH and live == JobKind.RESTART)
        return Decision.SAME_JOB if joins else Decision.SUPERSEDE
    if kind == JobKind.LAUNCH and status == WorkspaceStatus.RUNNING and not make_sure:
        return Decision.ALREADY_RUNNING
    return Decision.NEW_JOB


# The workspace's status while its job is at a step. A step that is not here leaves the status as it was.
STATUS_AT: dict[JobStep, WorkspaceStatus] = {
    JobStep.PULLING: WorkspaceStatus.PULLING,
    JobStep.CREATING: WorkspaceStatus.CREATING,
    JobStep.STARTING: WorkspaceStatus.STARTING,
    JobStep.PROBING: WorkspaceStatus.PROBING,
}

# Percent done when a step begins; a pull moves from its own to the next one's by bytes.
PROGRESS_AT: dict[JobStep, int] = {
    JobStep.QUEUED: 0,
    JobStep.CLAIMED: 5,
    JobStep.PULLING: 10,
    JobStep.CREATING: 60,
    JobStep.STARTING: 70,
    JobStep.PROBING: 85,
    JobStep.READY: 100,
}


def pull_progress(done: int | None, total: int | None) -> int:
    """Percent of the whole job while an image is pulled."""
    low, high = PROGRESS_AT[JobStep.PULLING], PROGRESS_AT[JobStep.CREATING]
    if not done or not total:
        return low
    return low + int((high - low) * min(done / total, 1))
