"""What counts as use of a workspace, and what is due when there is none."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalog.templates import Limits, Localized, Probe, Template
from app.models import Workspace, WorkspaceStatus
from app.workspaces.idle import IdleReason, Sample, due_action, idle_schedule, is_active

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WITHIN = timedelta(minutes=2)
S = WorkspaceStatus


def later(seconds: float, cpu: float, network: int) -> Sample:
    return Sample(NOW + timedelta(seconds=seconds), 10 + cpu, 1000 + network)


@pytest.mark.parametrize(
    ("cpu", "network", "active"),
    [
        (0, 0, False),
        (0.5, 0, False),  # a server that only looks at its clocks
        (0, 800, False),  # pings of an open websocket
        (2, 0, True),
        (0, 4000, True),
        (0, 500_000, True),
        (-5, 0, True),  # it was started anew
        (0, -500, True),
    ],
)
def test_frames_and_work_are_use_and_an_open_connection_is_not(cpu: float, network: int, active: bool) -> None:
    assert is_active(Sample(NOW, 10, 1000), later(30, cpu, network), WITHIN) is active


def test_looks_that_say_nothing_count_as_use() -> None:
    assert is_active(None, later(0, 0, 0), WITHIN)
    assert is_active(Sample(NOW, 10, 1000), later(121, 0, 0), WITHIN)


@given(st.floats(0, 120), st.floats(0, 100), st.integers(0, 10**9))
def test_more_work_is_never_less_active(seconds: float, cpu: float, network: int) -> None:
    less = is_active(Sample(NOW, 10, 1000), later(seconds, cpu, network), WITHIN)
    assert is_active(Sample(NOW, 10, 1000), later(seconds, cpu + 1, network + 1), WITHIN) >= less


def template(*, pause: int = 0, stop: int = 0, end: int = 0) -> Template:
    return Template(
        key="hello",
        name=Localized(en="a", de="a"),
        description=Localized(en="a", de="a"),
        image="a",
        port=1,
        limits=Limits(memory="64M", cpus=1, pids=9),
        probe=Probe(path="/", deadline_seconds=1),
        idle_pause=pause,
        idle_stop=stop,
        max_lifetime=end,
    )


def workspace(
    status: WorkspaceStatus = S.RUNNING, *, idle: float, age: float = 10_000, looked: float | None = 5
) -> Workspace:
    return Workspace(
        status=status,
        status_at=NOW,
        started_at=NOW - timedelta(seconds=age),
        active_at=NOW - timedelta(seconds=idle),
        sampled_at=None if looked is None else NOW - timedelta(seconds=looked),
    )


@pytest.mark.parametrize(
    ("limits", "row", "expected"),
    [
        ({}, workspace(idle=10**6), None),
        ({"pause": 60}, workspace(idle=59), None),
        ({"pause": 60}, workspace(idle=60), IdleReason.IDLE_PAUSE),
        ({"pause": 60}, workspace(S.PAUSED, idle=600), None),
        ({"pause": 60}, workspace(S.STARTING, idle=600), None),
        ({"pause": 60, "stop": 600}, workspace(idle=599), IdleReason.IDLE_PAUSE),
        ({"pause": 60, "stop": 600}, workspace(idle=600), IdleReason.IDLE_STOP),
        ({"pause": 60, "stop": 600}, workspace(S.PAUSED, idle=599), None),
        ({"pause": 60, "stop": 600}, workspace(S.PAUSED, idle=600, looked=None), IdleReason.IDLE_STOP),
        ({"end": 600}, workspace(idle=0, age=599), None),
        ({"end": 600}, workspace(idle=0, age=600, looked=None), IdleReason.MAX_LIFETIME),
        ({"end": 600}, workspace(S.PAUSED, idle=0, age=600), IdleReason.MAX_LIFETIME),
        # It was used before it was started: the time without use begins with the start.
        ({"pause": 60}, workspace(idle=600, age=30), None),
        # Counters that could not be read say nothing about rest.
        ({"pause": 60}, workspace(idle=600, looked=None), None),
        ({"pause": 60, "stop": 300}, workspace(idle=600, looked=121), None),
    ],
)
def test_what_is_due(limits: dict[str, int], row: Workspace, expected: IdleReason | None) -> None:
    assert due_action(template(**limits), row, NOW, WITHIN) is expected


@pytest.mark.parametrize(
    ("limits", "row", "warning"),
    [
        ({"pause": 3600}, workspace(idle=3200), None),
        ({"pause": 3600}, workspace(idle=3241), "pause"),  # a tenth of an hour
        ({"pause": 1200}, workspace(idle=901), "pause"),  # five minutes
        ({"pause": 60}, workspace(idle=29), None),
        ({"pause": 60}, workspace(idle=31), "pause"),  # half of a short time
        ({"stop": 3600}, workspace(S.PAUSED, idle=3500), "stop"),
        ({"end": 10_100}, workspace(idle=0), "end"),
        ({"pause": 3600, "end": 10_010}, workspace(idle=3500), "end"),  # the first of two
    ],
)
def test_a_warning_comes_before_the_end(limits: dict[str, int], row: Workspace, warning: str | None) -> None:
    life = idle_schedule(template(**limits), row, NOW)
    assert life is not None
    assert life.warning == warning


def test_the_times_of_a_paused_workspace_name_no_pause() -> None:
    life = idle_schedule(template(pause=60, stop=600, end=20_000), workspace(S.PAUSED, idle=100), NOW)
    assert life is not None
    assert life.pauses_at is None
    assert life.stops_at == NOW + timedelta(seconds=500)
    assert life.ends_at == NOW + timedelta(seconds=10_000)


def test_nothing_lies_before_a_workspace_without_limits_or_life() -> None:
    assert idle_schedule(template(), workspace(idle=0), NOW) is None
    assert idle_schedule(template(pause=60), workspace(S.STOPPED, idle=0), NOW) is None
