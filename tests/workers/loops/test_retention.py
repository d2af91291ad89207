"""Rows go when they have had their time, and not before; jobs that live and the newest of each workspace stay."""

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.db import Base
from app.core.retention import BATCH
from app.models import (
    ApiToken,
    IdempotencyKey,
    Invitation,
    Job,
    JobEvent,
    JobKind,
    JobState,
    LinkPurpose,
    LinkRequest,
    MagicLink,
    RetiredWorkspace,
    Session,
    Share,
    ShareLink,
    Workspace,
    utcnow,
)
from app.resources import Resources
from app.workspaces import service
from app.workspaces.jobs import history
from app.workspaces.jobs.history import KEPT_JOBS
from tests.support.clocks import Time
from tests.support.driving import accept
from tests.support.factories import make_user, sign_in
from tests.support.filled import fill
from tests.support.statements import counted
from workers.loops.retention import delete_expired

DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)


async def job_ids(resources: Resources) -> list[UUID]:
    async with resources.reads() as session:
        return list(await session.scalars(select(Job.id).order_by(Job.created_at)))


async def add_jobs(resources: Resources, workspace: Workspace, count: int, **values: Any) -> None:
    """Jobs that ended a minute after each other, the newest first, and each with a line of its timeline."""
    async with resources.unit_of_work() as session:
        for number in range(count):
            at = values.get("finished_at", utcnow()) - timedelta(minutes=number)
            common = {"template": "hello", "kind": JobKind.LAUNCH, "state": JobState.SUCCEEDED, "generation": 1}
            owner = {"workspace_id": workspace.id, "user_id": workspace.user_id}
            times = {"created_at": at, "deadline": at, "finished_at": at}
            job = Job(**{**common, **owner, **values, **times})
            session.add(job)
            await session.flush()
            session.add(JobEvent(job_id=job.id, step=job.step))


async def make_workspace(resources: Resources, slug: str = "alice") -> Workspace:
    user = await make_user(resources, slug)
    workspace = Workspace(user_id=user.id, template="hello")
    async with resources.unit_of_work() as session:
        session.add(workspace)
    return workspace


async def test_ended_jobs_go_after_their_time_and_the_newest_of_each_workspace_stay(
    resources: Resources, time: Time
) -> None:
    old, young = await make_workspace(resources), await make_workspace(resources, "bob")
    days = timedelta(days=resources.settings.job_days)
    await add_jobs(resources, old, KEPT_JOBS + 2, finished_at=time.now - days - timedelta(hours=1))
    await add_jobs(resources, young, 3, finished_at=time.now - 2 * days)
    kept = (await job_ids(resources))[-KEPT_JOBS:]
    await delete_expired(resources)
    async with resources.reads() as session:
        left = await session.scalars(select(Job.id).where(Job.workspace_id == old.id).order_by(Job.created_at))
        assert list(left) == kept
        assert await session.scalar(select(func.count()).where(Job.workspace_id == young.id)) == 3
        assert await session.scalar(select(func.count()).select_from(JobEvent)) == KEPT_JOBS + 3


async def test_a_job_goes_at_the_end_of_its_time_and_not_a_moment_before(resources: Resources, time: Time) -> None:
    workspace = await make_workspace(resources)
    ended = time.now
    await add_jobs(resources, workspace, 1, finished_at=ended - timedelta(hours=1))
    await add_jobs(resources, workspace, KEPT_JOBS, finished_at=ended)
    oldest = (await job_ids(resources))[0]
    time.now = ended - timedelta(hours=1) + timedelta(days=resources.settings.job_days)
    await delete_expired(resources)
    assert oldest in await job_ids(resources)
    time.now += INSTANT
    await delete_expired(resources)
    assert len(await job_ids(resources)) == KEPT_JOBS
    assert oldest not in await job_ids(resources)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
async def test_a_live_job_never_goes(resources: Resources, time: Time, state: JobState) -> None:
    workspace = await make_workspace(resources)
    long_ago = time.now - timedelta(days=300)
    await add_jobs(resources, workspace, 1, finished_at=long_ago - DAY, state=state)
    await add_jobs(resources, workspace, KEPT_JOBS, finished_at=long_ago)
    await delete_expired(resources)
    assert len(await job_ids(resources)) == KEPT_JOBS + 1


async def test_many_jobs_go_in_batches_without_reading_the_whole_table(
    resources: Resources, owner: AsyncEngine
) -> None:
    users, each = 20, 5000
    await fill(owner, users=users, jobs=each)
    async with resources.reads() as session:
        workspaces = await history.next_workspaces(session, UUID(int=0))
    plan = await plan_of_a_batch(resources, workspaces)
    assert "Seq Scan" not in plan, plan
    async with counted(resources.engine, resources.reader) as statements:
        await delete_expired(resources)
    assert len(await job_ids(resources)) == users * KEPT_JOBS
    deletes = [one for one in statements if "DELETE FROM jobs" in one]
    assert len(deletes) == math.ceil(users * (each - KEPT_JOBS) / BATCH) + 1


async def plan_of_a_batch(resources: Resources, workspaces: Sequence[UUID]) -> str:
    """The plan of a batch's statement."""
    values = {"workspaces": list(workspaces), "kept": KEPT_JOBS, "batch": BATCH, "before": utcnow()}
    async with resources.unit_of_work() as session:
        lines = await session.scalars(text(f"EXPLAIN {history.DELETE_ENDED.text}"), values)
        return "\n".join(lines)


async def test_a_batch_that_is_under_way_keeps_nobody_from_launching(resources: Resources, time: Time) -> None:
    user = await make_user(resources)
    job = await accept(resources, user)
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).values(state=JobState.SUCCEEDED, finished_at=time.now))
        workspace = await session.get_one(Workspace, job.workspace_id)
    await add_jobs(resources, workspace, KEPT_JOBS + 5, finished_at=time.now - timedelta(days=60))
    # A row that a launch waited for would end it: locks time out.
    async with resources.unit_of_work() as batch:
        assert await history.delete_ended(batch, [workspace.id], 30) == 6
        async with resources.unit_of_work() as session:
            accepted = await service.request(session, resources, user, "hello")
        assert accepted.job is not None


def of(table: type[Base], **values: Any) -> Base:
    return table(**values)


async def test_rows_that_have_had_their_time_go_and_not_a_moment_before(resources: Resources, time: Time) -> None:
    alice = await sign_in(resources)
    workspace = await make_workspace(resources, "bob")
    now = time.now
    mine, there = {"user_id": alice.user.id}, {"workspace_id": workspace.id}
    month = timedelta(days=30)
    rows: dict[type[Base], tuple[timedelta, Base]] = {
        IdempotencyKey: (DAY, of(IdempotencyKey, **mine, key="k", fingerprint=b"", created_at=now)),
        LinkRequest: (
            2 * DAY,
            of(LinkRequest, email="a@b.example", purpose=LinkPurpose.LOGIN, locale="en", expires_at=now),
        ),
        MagicLink: (DAY, of(MagicLink, **mine, token_hash=b"a", expires_at=now)),
        Invitation: (month, of(Invitation, email="c@b.example", expires_at=now)),
        Session: (7 * DAY, of(Session, **mine, cookie_hash=b"s", expires_at=now)),
        ApiToken: (month, of(ApiToken, **mine, name="t", token_hash=b"t", scopes=[], expires_at=now)),
        RetiredWorkspace: (3 * month, of(RetiredWorkspace, workspace_id=UUID(int=7), retired_at=now)),
        Share: (month, of(Share, **there, email="d@b.example", expires_at=now)),
        ShareLink: (month, of(ShareLink, **there, token_hash=b"l", expires_at=now, revoked_at=now)),
    }
    async with resources.unit_of_work() as session:
        await session.execute(update(Session).values(expires_at=now + 400 * DAY))
        session.add_all(row for _, row in rows.values())
    async with resources.reads() as session:
        before = {table: await session.scalar(select(func.count()).select_from(table)) for table in rows}
    for kept in sorted({kept for kept, _ in rows.values()}):
        tables = [table for table, (its, _) in rows.items() if its == kept]
        for late, gone in ((timedelta(0), 0), (INSTANT, 1)):
            time.now = now + kept + late
            await delete_expired(resources)
            async with resources.reads() as session:
                for table in tables:
                    left = await session.scalar(select(func.count()).select_from(table))
                    assert left == (before[table] or 0) - gone, table
