"""What becomes of a request, by the row's state and its live job."""

import ast
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.settings.model import Settings
from app.models import DesiredState, JobKind, JobStep, WorkspaceStatus
from app.runtime.base import RunState
from app.workspaces.states import (
    PROGRESS_AT,
    SETTLED,
    STATUS_AT,
    TRANSITIONS,
    Decision,
    Verdict,
    allowed,
    asked_status,
    decide,
    decide_repair,
    pull_progress,
)
from tests.conftest import ROOT

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


def test_nothing_else_writes_a_status() -> None:
    writers = set()
    for path in (*ROOT.glob("app/**/*.py"), *ROOT.glob("workers/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign):
                names = [ast.unparse(target) for target in node.targets]
                writes = any(name.endswith("workspace.status") for name in names)
            else:
                called = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".values")
                writes = called and any(keyword.arg == "status" for keyword in getattr(node, "keywords", []))
            if writes:
                writers.add(path.relative_to(ROOT).as_posix())
    assert writers == {"app/workspaces/states.py"}


@given(st.sampled_from(WorkspaceStatus), st.sampled_from(DesiredState), st.sampled_from(RunState))
def test_what_a_look_begins_is_legal_from_where_it_begins(
    status: WorkspaceStatus, wanted: DesiredState, seen: RunState
) -> None:
    begins = {Verdict.LAUNCH: JobKind.LAUNCH, Verdict.STOP: JobKind.STOP, Verdict.DELETE: JobKind.DELETE}
    verdict = decide_repair(status, wanted, seen)
    if verdict in begins:
        assert asked_status(begins[verdict], status) in TRANSITIONS[status] | {status}


@given(st.sampled_from(JobKind), st.sampled_from(WorkspaceStatus))
def test_every_request_has_a_legal_way_from_every_state(kind: JobKind, status: WorkspaceStatus) -> None:
    if kind is not JobKind.PAUSE:
        assert asked_status(kind, status) in TRANSITIONS[status]


def test_every_transitional_state_has_a_time_to_end_in() -> None:
    settings = Settings.model_construct(queue_seconds=60, launch_seconds=30)
    assert all(allowed(settings, status) > timedelta(0) for status in set(WorkspaceStatus) - SETTLED)
