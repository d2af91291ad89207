"""The page that waits for a mail notices what became of its link."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event, select

from app.models import LinkRequest
from app.resources import Resources
from tests.conftest import TestWorker
from tests.support.browsers import make_browser
from tests.support.clocks import Time
from tests.support.emails import Inbox

ALICE, BOB = "alice@example.org", "bob@example.org"


@pytest.fixture(autouse=True)
def stopped(time: Time) -> Time:
    return time


@pytest.fixture
async def elsewhere(app: FastAPI, resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
    """Another device."""
    async with make_browser(app) as opened:
        yield opened


async def ask(browser: httpx.AsyncClient, worker: TestWorker, address: str = ALICE) -> None:
    assert (await browser.post("/sign-in", data={"email": address})).headers["location"] == "/check-mail"
    await worker.drain()


async def told(browser: httpx.AsyncClient) -> tuple[str, int | None]:
    answer = await browser.get("/check-mail/status")
    assert answer.status_code == 200
    body = answer.json()
    return body["state"], body["again"]


async def use(browser: httpx.AsyncClient, token: str) -> None:
    assert (await browser.post("/api/auth/verify", json={"token": token})).status_code == 200


async def test_a_page_that_waits_asks_less_often_and_ends(
    browser: httpx.AsyncClient, worker: TestWorker, inbox: Inbox, time: Time, resources: Resources
) -> None:
    assert await told(browser) == ("over", None)
    await ask(browser, worker)
    assert await told(browser) == ("waiting", 3)
    time.pass_(minutes=2)
    assert await told(browser) == ("waiting", 10)
    time.pass_(seconds=2 * resources.settings.magic_link_seconds - 121)
    assert await told(browser) == ("waiting", 10)
    time.pass_(seconds=1)
    assert await told(browser) == ("over", None)


async def test_a_link_that_was_used_in_this_browser_lets_its_waiting_page_go_on(
    browser: httpx.AsyncClient, worker: TestWorker, inbox: Inbox
) -> None:
    await ask(browser, worker)
    await use(browser, inbox.token(ALICE))
    assert await told(browser) == ("signed_in", None)


async def test_a_link_that_was_used_elsewhere_is_told_and_signs_nobody_in_here(
    browser: httpx.AsyncClient, elsewhere: httpx.AsyncClient, worker: TestWorker, inbox: Inbox, time: Time
) -> None:
    await ask(browser, worker)
    time.pass_(seconds=20)
    await use(elsewhere, inbox.token(ALICE))
    assert await told(browser) == ("used_elsewhere", None)
    assert (await browser.get("/")).headers["location"].startswith("/sign-in")
    time.pass_(seconds=1)
    await ask(browser, worker)
    assert await told(browser) == ("waiting", 3)


async def test_the_earlier_of_two_mails_counts_as_well(
    browser: httpx.AsyncClient, elsewhere: httpx.AsyncClient, worker: TestWorker, inbox: Inbox, time: Time
) -> None:
    await ask(browser, worker)
    first = inbox.token(ALICE)
    time.pass_(seconds=30)
    await ask(browser, worker)
    time.pass_(seconds=1)
    await use(elsewhere, first)
    assert await told(browser) == ("used_elsewhere", None)


async def test_a_stranger_who_asked_for_the_same_address_learns_nothing_of_its_owner(
    browser: httpx.AsyncClient, elsewhere: httpx.AsyncClient, worker: TestWorker, inbox: Inbox, time: Time
) -> None:
    await ask(elsewhere, worker)
    await ask(elsewhere, worker, "nobody@example.org")
    time.pass_(seconds=1)
    before = await told(elsewhere)
    await ask(browser, worker)
    await use(browser, inbox.token(ALICE))
    assert await told(elsewhere) == before == ("waiting", 3)


async def test_whoever_was_signed_in_before_they_asked_goes_on_waiting(
    browser: httpx.AsyncClient, worker: TestWorker, inbox: Inbox, time: Time
) -> None:
    await ask(browser, worker)
    await use(browser, inbox.token(ALICE))
    time.pass_(seconds=5)
    await ask(browser, worker, BOB)
    assert await told(browser) == ("waiting", 3)
    await use(browser, inbox.token(BOB))
    assert await told(browser) == ("signed_in", None)


async def test_asking_costs_one_statement_at_most(
    browser: httpx.AsyncClient, worker: TestWorker, inbox: Inbox, resources: Resources
) -> None:
    statements: list[str] = []

    def note(*execution: object) -> None:
        statements.append(str(execution[2]))

    event.listen(resources.engine.sync_engine, "before_cursor_execute", note)
    try:
        await told(browser)
        assert statements == []
        await ask(browser, worker)
        statements.clear()
        await told(browser)
        assert [statement.partition(" ")[0] for statement in statements] == ["SELECT"]
    finally:
        event.remove(resources.engine.sync_engine, "before_cursor_execute", note)


async def test_a_refused_sign_in_leaves_the_request_as_it_was(
    browser: httpx.AsyncClient, worker: TestWorker, inbox: Inbox, resources: Resources
) -> None:
    await ask(browser, worker)
    answer = await browser.post("/api/auth/verify", json={"token": "x" * 43})
    assert answer.status_code == 400
    async with resources.sessions() as session:
        assert await session.scalar(select(LinkRequest.used_at)) is None
