"""Who floods an address with requests keeps nobody out of it: the newest mail lets its reader in."""

from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update

from app.models import LinkRequest, LinkRequestState, MagicLink, User, utcnow
from app.resources import Resources
from tests.conftest import TestWorker
from tests.support.browsers import make_browser
from tests.support.clocks import Time
from tests.support.emails import Inbox
from tests.support.factories import make_user

ALICE = "alice@example.org"


async def ask(app: FastAPI, address: str = ALICE) -> httpx.Response:
    """In a browser that never was here."""
    async with make_browser(app) as browser:
        return await browser.post("/sign-in", data={"email": address})


async def flood(app: FastAPI, worker: TestWorker, address: str = ALICE, *, times: int = 10) -> None:
    for _ in range(times):
        await ask(app, address)
    await worker.drain()


async def forget_minute(resources: Resources) -> None:
    await resources.redis.delete(*await resources.redis.keys("spawner:*:limits:renewal:*"), "x")


async def enter(app: FastAPI, token: str) -> int:
    async with make_browser(app) as browser:
        return (await browser.post("/api/auth/verify", json={"token": token})).status_code


@pytest.mark.parametrize("account", [True, False], ids=["known", "new"])
@pytest.mark.parametrize("minutes", [5, 20, 59])
async def test_the_victim_gets_in_by_a_mail_that_the_attacker_caused(
    app: FastAPI,
    resources: Resources,
    worker: TestWorker,
    inbox: Inbox,
    time: Time,
    account: bool,
    minutes: int,
) -> None:
    if account:
        await make_user(resources)
    await flood(app, worker)
    assert len(inbox.to(ALICE)) == 3
    newest = inbox.token(ALICE)
    time.pass_(minutes=minutes)
    await forget_minute(resources)
    assert await enter(app, newest) == (200 if minutes < 10 else 400)
    if minutes < 10:
        return
    assert (await ask(app)).headers["location"] == "/check-mail?newest=true"
    await worker.drain()
    assert len(inbox.to(ALICE)) == 3
    time.pass_(minutes=9)
    assert await enter(app, newest) == 200


async def test_a_flood_sends_no_more_mails_than_the_limit(
    app: FastAPI, resources: Resources, worker: TestWorker, inbox: Inbox, time: Time
) -> None:
    await make_user(resources)
    for _ in range(6):
        await flood(app, worker, times=5)
        await forget_minute(resources)
        time.pass_(minutes=9)
    assert len(inbox.to(ALICE)) == 3


async def test_no_link_lives_longer_than_an_hour_and_its_life(
    app: FastAPI, resources: Resources, worker: TestWorker, inbox: Inbox, time: Time
) -> None:
    await make_user(resources)
    await flood(app, worker)
    newest = inbox.token(ALICE)
    for _ in range(9):
        time.pass_(minutes=9)
        await forget_minute(resources)
        await flood(app, worker, times=1)
    assert await enter(app, newest) == 400


async def test_who_used_the_links_gets_a_new_one_and_a_flood_beyond_that_gets_none(
    app: FastAPI, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    await make_user(resources)
    await flood(app, worker)
    for number in range(2):
        assert await enter(app, inbox.token(ALICE)) == 200
        await forget_minute(resources)
        await flood(app, worker)
        assert len(inbox.to(ALICE)) == 4 + number
    await forget_minute(resources)
    await flood(app, worker)
    assert len(inbox.to(ALICE)) == 5


async def test_within_a_minute_one_renewal_is_enough(app: FastAPI, resources: Resources, worker: TestWorker) -> None:
    await make_user(resources)
    await flood(app, worker, times=8)
    async with resources.reads() as session:
        tried = select(LinkRequest.attempts).where(LinkRequest.renewal).order_by(LinkRequest.attempts)
        assert list(await session.scalars(tried)) == [0, 0, 0, 0, 1]


async def test_a_link_that_was_never_delivered_is_not_told_to_be_good(
    app: FastAPI, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    await make_user(resources)
    await flood(app, worker, times=3)
    async with resources.unit_of_work() as session:
        await session.execute(update(LinkRequest).values(state=LinkRequestState.FAILED))
        await session.execute(update(MagicLink).values(expires_at=utcnow() - timedelta(seconds=1)))
    await flood(app, worker, times=1)
    async with resources.reads() as session:
        live = select(func.count(MagicLink.id)).where(MagicLink.expires_at > utcnow())
        assert await session.scalar(live) == 0
    assert len(inbox.to(ALICE)) == 3


async def test_beyond_the_limit_every_address_gets_the_same_answer_and_the_same_row(
    app: FastAPI, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    resources.settings.signup = "closed"
    await make_user(resources)
    await make_user(resources, "blocked")
    async with resources.unit_of_work() as session:
        await session.execute(update(User).where(User.slug == "blocked").values(blocked_at=utcnow()))
    people = (ALICE, "blocked@example.org", "nobody@example.org")
    for address in people:
        await flood(app, worker, address, times=3)
    pages = [await ask(app, address) for address in people]
    assert len({(answer.status_code, answer.headers["location"], answer.content) for answer in pages}) == 1
    async with make_browser(app) as api:
        answers = [await api.post("/api/auth/login", json={"email": address}) for address in people]
    problems = [{**answer.json(), "request_id": ""} for answer in answers]
    assert problems == problems[:1] * 3
    assert problems[0]["code"] == "rate_limited"
    await worker.drain()
    async with resources.reads() as session:
        query = select(LinkRequest.email, LinkRequest.state, LinkRequest.attempts).where(LinkRequest.renewal)
        rows = [tuple(row) for row in await session.execute(query)]
    kinds = {address: sorted(row[1:] for row in rows if row[0] == address) for address in people}
    assert len(kinds[ALICE]) == 2
    assert kinds[ALICE] == kinds["blocked@example.org"] == kinds["nobody@example.org"]
    assert len(inbox.to("")) == 3
