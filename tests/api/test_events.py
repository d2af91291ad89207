"""A job as Server-Sent Events: every change once, across connections and processes, and an end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from fastapi import FastAPI
from sqlalchemy import update

from app.core.settings.model import Settings
from app.models import Job, JobState, Session, User, utcnow
from app.resources import Resources
from app.workspaces.jobs import follow
from app.workspaces.jobs.subscriptions import JobSubscriptions
from tests.api.streaming import Sent, Served, another, change_job, eventually, make_job, served
from tests.support.factories import SignedIn, sign_in
from tests.support.statements import counted
from tests.support.waiting import PATIENCE


@pytest.fixture
async def job(resources: Resources, alice: SignedIn) -> Job:
    return await make_job(resources, alice.user)


@pytest.fixture
async def api(app: FastAPI, alice: SignedIn) -> AsyncIterator[Served]:
    async with served(app, alice) as opened:
        yield opened


def events_of(job: Job) -> str:
    return f"/api/jobs/{job.id}/events"


def progress(sent: Sent | None) -> int:
    assert sent is not None
    value: int = json.loads(sent.data)["progress"]
    return value


async def waiting(app: FastAPI, job: Job, number: int = 1) -> None:
    """Return once so many streams have read the row and await its next change."""
    watch: JobSubscriptions = app.state.watch
    await eventually(lambda: sum(bool(event._waiters) for event in watch._waiting.get(str(job.id), ())) == number)


async def test_an_event_is_what_polling_answers_with_its_tag(api: Served, job: Job) -> None:
    polled = await api.get(f"/api/jobs/{job.id}")
    async with api.stream(events_of(job)) as stream:
        assert stream.response.headers["Content-Type"].startswith("text/event-stream")
        assert stream.response.headers["Cache-Control"] == "no-store"
        assert await stream.next() == Sent("job", polled.text, polled.headers["ETag"])


async def test_each_change_is_told_and_the_stream_ends_with_the_job(
    api: Served, app: FastAPI, resources: Resources, job: Job
) -> None:
    async with api.stream(events_of(job)) as stream:
        assert progress(await stream.next()) == 0
        for step in (10, 20):
            await waiting(app, job)
            await change_job(resources, job.id, progress=step)
            assert progress(await stream.next()) == step
        await waiting(app, job)
        await change_job(resources, job.id, progress=100, state=JobState.SUCCEEDED)
        last = await stream.next()
        assert last is not None
        assert json.loads(last.data)["state"] == "succeeded"
        assert await stream.next() is None


async def test_browsers_are_told_to_come_back_soon(api: Served, resources: Resources, job: Job) -> None:
    await change_job(resources, job.id, state=JobState.FAILED)
    answer = await api.get(events_of(job))
    assert answer.text.startswith("retry: 1000\n\nevent: job\ndata: {")
    assert answer.text.endswith("\n\n")


async def test_whoever_comes_back_is_sent_nothing_twice_also_by_another_process(
    api: Served, settings: Settings, resources: Resources, alice: SignedIn, job: Job
) -> None:
    async with api.stream(events_of(job)) as stream:
        first = await stream.next()
    assert first is not None
    async with another(settings, alice) as other:
        async with other.stream(events_of(job), seen=first.id) as stream:
            assert await stream.silent(1.5)
        async with other.stream(events_of(job), seen=first.id) as stream:
            await change_job(resources, job.id, progress=30, state=JobState.FAILED)
            events = await stream.rest()
        assert [progress(event) for event in events] == [30]


async def test_whoever_missed_changes_is_sent_the_latest_at_once(api: Served, resources: Resources, job: Job) -> None:
    async with api.stream(events_of(job)) as stream:
        first = await stream.next()
    assert first is not None
    for step in (10, 20):
        await change_job(resources, job.id, progress=step)
    async with api.stream(events_of(job), seen=first.id) as stream:
        assert progress(await stream.next()) == 20


async def test_whoever_has_the_last_event_is_told_not_to_come_back(
    api: Served, resources: Resources, alice: SignedIn
) -> None:
    job = await make_job(resources, alice.user, JobState.SUCCEEDED)
    async with api.stream(events_of(job)) as stream:
        [last] = await stream.rest()
    again = await api.get(events_of(job), seen=last.id)
    assert (again.status_code, again.content) == (204, b"")


async def test_the_stream_ends_when_the_process_is_told_to_stop(api: Served, app: FastAPI, job: Job) -> None:
    async with api.stream(events_of(job)) as stream:
        await stream.next()
        await waiting(app, job)
        app.state.watch.close()
        assert await stream.rest(seconds=2) == []


async def test_the_stream_ends_without_news_once_the_session_has_ended(
    api: Served, app: FastAPI, resources: Resources, alice: SignedIn, job: Job
) -> None:
    async with api.stream(events_of(job)) as stream:
        await stream.next()
        await waiting(app, job)
        async with resources.unit_of_work() as session:
            await session.execute(update(Session).values(ended_at=utcnow()))
        await change_job(resources, job.id, progress=50)
        assert await stream.rest() == []
    assert (await api.get(events_of(job))).status_code == 401


async def test_the_stream_ends_without_news_once_the_account_is_blocked(
    api: Served, app: FastAPI, resources: Resources, job: Job
) -> None:
    async with api.stream(events_of(job)) as stream:
        await stream.next()
        await waiting(app, job)
        async with resources.unit_of_work() as session:
            await session.execute(update(User).values(blocked_at=utcnow()))
        await change_job(resources, job.id, progress=50)
        assert await stream.rest() == []


async def test_a_quiet_stream_is_kept_alive_and_ends_after_its_time(
    api: Served, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "KEEP_ALIVE_SECONDS", 0.2)
    monkeypatch.setattr(follow, "MAX_SECONDS", 1)
    async with api.stream(events_of(job)) as stream:
        await stream.next()
        comments = 0
        while (sent := await stream.next()) is not None:
            assert sent == Sent("", "", "")
            comments += 1
        assert comments >= 3


async def test_a_stream_holds_no_database_connection(
    settings: Settings, resources: Resources, alice: SignedIn, job: Job
) -> None:
    async with AsyncExitStack() as exits:
        api = await exits.enter_async_context(another(settings.model_copy(update={"database_pool": 1}), alice))
        streams = [await exits.enter_async_context(api.stream(events_of(job))) for _ in range(5)]
        for stream in streams:
            assert progress(await stream.next()) == 0
        assert (await api.get("/api/user/me")).status_code == 200
        await change_job(resources, job.id, progress=7)
        for stream in streams:
            assert progress(await stream.next()) == 7


async def test_streams_and_long_polls_of_an_account_are_counted_over_its_sessions(
    api: Served, app: FastAPI, resources: Resources, alice: SignedIn, job: Job
) -> None:
    resources.settings.user_streams = 5
    again = await sign_in(resources, alice.user)
    bob = await sign_in(resources, "bob")
    async with AsyncExitStack() as exits:
        second = await exits.enter_async_context(served(app, again))
        others = await exits.enter_async_context(served(app, bob))
        streams = [await exits.enter_async_context(one.stream(events_of(job))) for one in (api, second, api, second)]
        for stream in streams:
            await stream.next()
        poll = asyncio.create_task(api.get(f"/api/jobs/{job.id}?wait=30"))
        await waiting(app, job, 5)
        for path in (events_of(job), f"/api/jobs/{job.id}?wait=30"):
            refused = await second.get(path)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
            assert refused.headers["Retry-After"] == "5"
        # Neither a look without waiting nor somebody else is held up.
        assert (await second.get(f"/api/jobs/{job.id}")).status_code == 200
        theirs = await make_job(resources, bob.user, JobState.SUCCEEDED)
        assert (await others.get(events_of(theirs))).status_code == 200
        await change_job(resources, job.id, state=JobState.SUCCEEDED)
        assert (await poll).status_code == 200
        for stream in streams:
            await stream.rest()
        await eventually(lambda: len(app.state.watch._places) == 0)


async def test_a_change_is_read_once_for_all_who_wait_for_it(
    api: Served, app: FastAPI, resources: Resources, job: Job
) -> None:
    async with AsyncExitStack() as exits:
        streams = [await exits.enter_async_context(api.stream(events_of(job))) for _ in range(30)]
        for stream in streams:
            await stream.next()
        await waiting(app, job, 30)
        async with counted(resources.engine, resources.reader) as statements:
            await change_job(resources, job.id, progress=7)
            for stream in streams:
                assert progress(await stream.next()) == 7
        timelines = [said for said in statements if "FROM job_events" in said]
        callers = [said for said in statements if "FROM users JOIN sessions" in said]
        # Two at most: whoever wakes while one is being read waits for the next.
        assert 1 <= len(timelines) <= 2, statements
        assert 1 <= len(callers) <= 2, statements


async def test_a_client_that_goes_away_is_forgotten(api: Served, app: FastAPI, job: Job) -> None:
    async with api.stream(events_of(job)) as stream:
        await stream.next()
        await waiting(app, job)
    await eventually(lambda: str(job.id) not in app.state.watch._waiting)


async def test_foreign_and_unknown_jobs_are_not_found_before_anything_streams(
    api: Served, resources: Resources, job: Job
) -> None:
    foreign = await make_job(resources, (await sign_in(resources, "bob")).user)
    async with asyncio.timeout(PATIENCE):
        for path in (events_of(foreign), f"/api/jobs/{job.workspace_id}/events"):
            answer = await api.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
