"""A short cut of `make chaos`: the same faults at a smaller scale, on one installation."""

import asyncio
import secrets
from pathlib import Path

import pytest

from app.models import JobKind
from app.resources import Resources
from app.workspaces import service
from app.workspaces.jobs.leases import Claim
from tests.chaos import deaths, passes
from tests.chaos.control import CHECKPOINTS, WARM_LAUNCH
from tests.chaos.suite import cluster_of, installation, strike
from tests.conftest import TestWorker
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime
from tests.support.seats import fill, want
from workers.jobs import checkpoints
from workers.jobs.checkpoints import Checkpoint

# `make chaos` holds to fifteen seconds; beside other tests a worker alone may take that long to start.
LOADED_SECONDS = 45
# Those that take long, or that others on this machine would feel, are left to `make chaos`.
SHORT = (
    "worker-deaths",
    "admitting-worker-killed",
    "api-killed",
    "redis-flushed",
    "messages-repeated",
    "containers-removed",
    "clock-jumped",
)


async def test_the_suite_kills_workers_wherever_a_job_comes_by(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    seen: dict[JobKind, list[Checkpoint]] = {}

    async def note(checkpoint: Checkpoint, held: Claim | None) -> None:
        if held is not None:
            seen.setdefault(held.kind, []).append(checkpoint)

    user = await make_user(resources)

    async def drive(kind: JobKind) -> None:
        async with resources.unit_of_work() as session:
            accepted = await service.request(session, resources, user, "hello", kind)
        assert accepted.job is not None
        await worker.drain()

    checkpoints.listeners.append(note)
    try:
        for kind in (JobKind.LAUNCH, JobKind.RESTART):
            runtime.missing.add("spawner/hello:1")
            await drive(kind)
        async with resources.unit_of_work() as session:
            row = await session.scalar(service.owned_workspaces(user.id).with_for_update(key_share=True))
            assert row is not None
            await service.begin(session, resources, row, JobKind.PAUSE)
        await worker.drain()
        for kind in (JobKind.STOP, JobKind.DELETE):
            await drive(kind)
        cold = {kind: tuple(points) for kind, points in seen.items()}
        seen.clear()
        want(resources, 1)
        await fill(resources, worker)
        await drive(JobKind.LAUNCH)
    finally:
        checkpoints.listeners.remove(note)
    assert cold == CHECKPOINTS
    assert {kind: tuple(points) for kind, points in seen.items()} == {JobKind.LAUNCH: WARM_LAUNCH}
    met = {point for points in (*CHECKPOINTS.values(), WARM_LAUNCH) for point in points}
    assert met == set(Checkpoint) - {Checkpoint.ADMITTED}
    assert set(CHECKPOINTS) == set(JobKind)


@pytest.mark.timeout(180)
def test_nothing_is_lost_doubled_or_left_behind_whatever_dies(
    sample_images: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deaths, "FIRE_SECONDS", LOADED_SECONDS)
    monkeypatch.setattr(passes, "FIRE_SECONDS", LOADED_SECONDS)
    monkeypatch.setattr(passes, "TAKEOVER_SECONDS", LOADED_SECONDS)

    async def strike_all() -> list[str]:
        missed = []
        async with cluster_of(stack, control, seed=20, people=8, pace=3.0, scale=0.25, pairs=3) as (cluster, sampler):
            for name in SHORT:
                outcome = await strike(cluster, sampler, name, warm_seconds=1.0, heal_seconds=LOADED_SECONDS)
                missed += [f"{name}: {miss}" for miss in outcome.misses]
        return missed

    with installation(f"c{secrets.token_hex(4)}", tmp_path) as (stack, control):
        missed = asyncio.run(strike_all())
        assert not missed, "\n".join([*missed, stack.tail()])
