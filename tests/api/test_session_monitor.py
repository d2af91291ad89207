"""Whoever waits is let go, without news, soon after what they are signed in with has ended."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from app.core.outbox import announce
from app.models import ApiToken, Job, Session, User, utcnow
from app.resources import Resources
from app.workspaces.jobs.subscriptions import JobSubscriptions
from tests.api.streaming import eventually, make_job, served
from tests.support.browsers import make_browser
from tests.support.factories import SignedIn, make_token, sign_in
from tests.support.statements import counted
from tests.support.waiting import PATIENCE, SOON


@pytest.fixture
async def job(resources: Resources, alice: SignedIn) -> Job:
    return await make_job(resources, alice.user)


async def end(resources: Resources, how: str) -> None:
    async with resources.unit_of_work() as session:
        match how:
            case "logout":
                await session.execute(update(Session).values(ended_at=utcnow()))
            case "block":
                await session.execute(update(User).values(blocked_at=utcnow()))
            case _:
                await session.execute(update(ApiToken).values(revoked_at=utcnow()))


async def asleep(app: FastAPI, job: Job, number: int) -> None:
    """Return once so many have read the row and await its next change."""
    watch: JobSubscriptions = app.state.watch
    await eventually(lambda: sum(bool(one._waiters) for one in watch._waiting.get(str(job.id), ())) == number)


@pytest.mark.parametrize("how", ["logout", "block", "revoke"])
async def test_a_long_poll_ends_soon_after_its_sign_in(
    app: FastAPI, client: httpx.AsyncClient, resources: Resources, alice: SignedIn, job: Job, how: str
) -> None:
    token = await make_token(resources, alice.user, "read")
    headers = {"Authorization": f"Bearer {token}"} if how == "revoke" else alice.headers
    poll = asyncio.create_task(client.get(f"/api/jobs/{job.id}?wait=30", headers=headers, timeout=PATIENCE))
    await asleep(app, job, 1)
    await end(resources, how)
    async with asyncio.timeout(SOON):
        answer = await poll
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_a_long_poll_tells_no_news_to_who_has_left(
    app: FastAPI,
    client: httpx.AsyncClient,
    resources: Resources,
    alice: SignedIn,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.accounts.session_monitor.LOOK_SECONDS", 3600)
    async with make_browser(app, alice) as browser:
        seen = (await client.get(f"/api/jobs/{job.id}", headers=alice.headers)).headers["ETag"]
        page = {"job": str(job.id), "seen": seen, "wait": "25"}
        polls = [
            client.get(f"/api/jobs/{job.id}?wait=30", headers=alice.headers, timeout=PATIENCE),
            browser.get("/home/workspaces/hello", params=page, headers={"HX-Request": "true"}, timeout=PATIENCE),
            browser.get("/open/alice-hello/progress", params=page, headers={"HX-Request": "true"}, timeout=PATIENCE),
        ]
        waiting = [asyncio.create_task(poll) for poll in polls]
        await asleep(app, job, 3)
        await end(resources, "logout")
        async with resources.unit_of_work() as session:
            await session.execute(update(Job).where(Job.id == job.id).values(version=Job.version + 1, progress=42))
            announce(session, job.id)
        async with asyncio.timeout(SOON):
            answers = await asyncio.gather(*waiting)
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert not any("42" in answer.text for answer in answers[1:])


@pytest.mark.parametrize("how", ["logout", "block"])
async def test_a_quiet_stream_ends_soon_after_its_sign_in(
    app: FastAPI, resources: Resources, alice: SignedIn, job: Job, how: str
) -> None:
    async with served(app, alice) as api, api.stream(f"/api/jobs/{job.id}/events") as stream:
        assert await stream.next()
        await asleep(app, job, 1)
        await end(resources, how)
        assert await stream.rest() == []


async def test_however_many_wait_are_judged_by_one_statement_and_others_stay(
    app: FastAPI, client: httpx.AsyncClient, resources: Resources, alice: SignedIn, job: Job
) -> None:
    other = await sign_in(resources, alice.user)
    token = {"Authorization": f"Bearer {await make_token(resources, alice.user, 'read')}"}
    who = [alice.headers, other.headers, token]
    url = f"/api/jobs/{job.id}?wait=30"
    polls = [asyncio.create_task(client.get(url, headers=headers, timeout=PATIENCE)) for headers in who * 3]
    await asleep(app, job, 9)
    async with counted(resources.engine, resources.reader) as statements:
        await app.state.watch.session_monitor.check_waiters(resources)
    assert len([one for one in statements if "UNION ALL" in one]) == len(statements)
    assert not any(poll.done() for poll in polls)
    async with resources.unit_of_work() as session:
        await session.execute(update(Session).where(Session.id == other.session.id).values(ended_at=utcnow()))
    async with asyncio.timeout(SOON):
        gone = await asyncio.gather(*polls[1::3])
    assert [answer.status_code for answer in gone] == [401, 401, 401]
    assert not any(poll.done() for poll in (*polls[0::3], *polls[2::3]))
    app.state.watch.close()
    async with asyncio.timeout(SOON):
        assert {poll.status_code for poll in await asyncio.gather(*polls[0::3], *polls[2::3])} == {200}
