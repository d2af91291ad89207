"""What becomes of a request, by the row's state and its live job."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models import JobKind, JobStep, WorkspaceStatus
from app.workspaces.states import PROGRESS_AT, STATUS_AT, Decision, decide, pull_progress

LAUNCHES = (JobKind.LAUNCH, JobKind.RESTART)


@pytest.mark.parametrize(
    ("kind", "live", "expected"),
    [
        (JobKind.LAUNCH, JobKind.LAUNCH, Decision.SAME_JOB),
        (JobKind.LAUNCH, JobKind.RESTART, Decision.SAME_JOB),
        (JobKind.RESTART, JobKind.RESTART, Decision.SAME_JOB),
        (JobKind.RESTART, JobKind.LAUNCH, Decision.SUPERSEDE),
        (JobKind.LAUNCH, JobKind.STOP, Decision.SUPERSEDE),
        (JobKind.LAUNCH, None, Decision.NEW_JOB),
    ],
)
def test_a_request_joins_a_live_job_that_fulfils_it_and_replaces_any_other(
    kind: JobKind, live: JobKind | None, expected: Decision
) -> None:
    assert decide(kind, WorkspaceStatus.QUEUED, live) is expected


def test_a_launch_of_a_running_workspace_makes_no_job() -> None:
    assert decide(JobKind.LAUNCH, WorkspaceStatus.RUNNING, None) is Decision.NOTHING_TO_DO


def test_a_launch_that_must_be_sure_looks_at_the_engine_even_when_the_row_says_running() -> None:
    assert decide(JobKind.LAUNCH, WorkspaceStatus.RUNNING, None, make_sure=True) is Decision.NEW_JOB


@given(st.sampled_from(LAUNCHES), st.sampled_from(WorkspaceStatus))
def test_without_a_live_job_nothing_is_superseded(kind: JobKind, status: WorkspaceStatus) -> None:
    assert decide(kind, status, None) in (Decision.NEW_JOB, Decision.NOTHING_TO_DO)


@given(st.integers(0, 10**12) | st.none(), st.integers(0, 10**12) | st.none())
def test_pull_progress_stays_between_its_neighbours(done: int | None, total: int | None) -> None:
    assert PROGRESS_AT[JobStep.PULLING] <= pull_progress(done, total) <= PROGRESS_AT[JobStep.CREATING]


def test_every_step_with_a_status_has_a_progress() -> None:
    assert STATUS_AT.keys() <= PROGRESS_AT.keys()
