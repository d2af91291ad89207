"""A mail server that takes nothing for a while: mails are tried for an hour, and the page that waits tells of it.

What it tells is the same whether the address gets a mail or none: everybody may ask for everybody's address.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from app.auth.magic_links import requeue_links
from app.core.settings.model import Settings
from app.mail.sender import SmtpMailer
from app.models import LinkRequest, User, utcnow
from app.resources import Resources
from tests.conftest import TestWorker
from tests.support.browsers import make_browser
from tests.support.clocks import Time
from tests.support.emails import PostOffice, open_post_office
from tests.support.factories import make_user
from workers.jobs.send_mail import deliver

ALICE, BLOCKED, NOBODY = "alice@example.org", "blocked@example.org", "nobody@example.org"
OUR_OWN = "spawner@localhost"
LATER = "451 4.7.1 later"


@pytest.fixture
async def office(worker: TestWorker, settings: Settings, time: Time) -> Any:
    async with open_post_office() as opened:
        worker.use(replace(worker.context, mailer=SmtpMailer(f"smtp://127.0.0.1:{opened.port}", settings.mail_from)))
        yield opened


@pytest.fixture
async def people(resources: Resources) -> None:
    await make_user(resources)
    await make_user(resources, "blocked")
    async with resources.unit_of_work() as session:
        await session.execute(update(User).where(User.email == BLOCKED).values(blocked_at=utcnow()))


async def ask(app: FastAPI, address: str) -> httpx.AsyncClient:
    browser = make_browser(app)
    assert (await browser.post("/sign-in", data={"email": address})).status_code == 303
    return browser


async def state(browser: httpx.AsyncClient) -> str:
    said: str = (await browser.get("/check-mail/status")).json()["state"]
    return said


async def try_all(resources: Resources, worker: TestWorker) -> None:
    """One attempt for each request that waits."""
    async with resources.unit_of_work() as session:
        await requeue_links(session)
        waiting = list(await session.scalars(select(LinkRequest.id).where(LinkRequest.finished_at.is_(None))))
    for request_id in waiting:
        await deliver(worker.context, request_id)


def says_later_to(*addresses: str) -> Callable[[str], str | None]:
    return lambda address: LATER if not addresses or address in addresses else None


@pytest.mark.parametrize("stage", ["connection", "recipient", "content"])
async def test_the_page_tells_of_a_delay_and_then_of_the_failure(
    app: FastAPI, resources: Resources, worker: TestWorker, office: PostOffice, time: Time, stage: str
) -> None:
    match stage:
        case "connection":
            worker.use(replace(worker.context, mailer=SmtpMailer("smtp://127.0.0.1:1", "a@example.org")))
        case "recipient":
            office.recipients = says_later_to()
        case _:
            office.data_answers = [LATER] * 1000
    browser = await ask(app, "new@example.org")
    assert await state(browser) == "waiting"
    # Far beyond a link's life, and nearly to the end of the hour.
    for _ in range(59):
        await try_all(resources, worker)
        assert await state(browser) == "delayed"
        time.pass_(minutes=1)
    time.pass_(minutes=1)
    await try_all(resources, worker)
    assert await state(browser) == "failed"
    page = (await browser.get("/check-mail")).text
    assert 'data-states="delayed" hidden' in page
    assert 'data-states="failed" hidden' in page
    await browser.aclose()


async def test_a_mail_that_comes_late_has_a_link_that_lives_its_whole_life(
    app: FastAPI, resources: Resources, worker: TestWorker, office: PostOffice, time: Time
) -> None:
    office.recipients = says_later_to()
    browser = await ask(app, ALICE)
    for _ in range(50):
        await try_all(resources, worker)
        time.pass_(minutes=1)
    office.recipients = lambda _: None
    await try_all(resources, worker)
    assert await state(browser) == "waiting"
    content = (office.received[0].original_content or b"").decode()
    token = content.partition("#token=")[2].split()[0]
    time.now += timedelta(seconds=resources.settings.magic_link_seconds - 1)
    assert await state(browser) == "waiting"
    assert (await browser.post("/api/auth/verify", json={"token": token})).status_code == 200
    await browser.aclose()


@pytest.mark.parametrize("signup", ["open", "closed"])
@pytest.mark.parametrize("trouble", ["connection", "everybody", "recipients"])
async def test_the_page_tells_the_same_for_every_address(
    app: FastAPI,
    resources: Resources,
    worker: TestWorker,
    office: PostOffice,
    people: None,
    time: Time,
    signup: str,
    trouble: str,
) -> None:
    """Also where the server defers these recipients alone: that is told to nobody, as it would tell who gets mail."""
    resources.settings.signup = signup  # type: ignore[assignment]
    mailer = worker.context.mailer
    if trouble == "connection":
        worker.use(replace(worker.context, mailer=SmtpMailer("smtp://127.0.0.1:1", "a@example.org")))
    office.recipients = says_later_to(*(() if trouble == "everybody" else (ALICE, BLOCKED, NOBODY)))
    browsers = [await ask(app, address) for address in (ALICE, BLOCKED, NOBODY)]
    told = []
    for minute in range(62):
        if minute == 30:
            worker.use(replace(worker.context, mailer=mailer))
            office.recipients = lambda _: None
        await try_all(resources, worker)
        told.append({await state(browser) for browser in browsers})
        time.pass_(minutes=1)
    assert all(len(states) == 1 for states in told)
    expected = "waiting" if trouble == "recipients" else "delayed"
    assert told[0] == told[19] == {expected}
    assert told[31] == ({"over"} if trouble == "recipients" else {"waiting"})
    assert told[-1] == {"over"}
    for browser in browsers:
        await browser.aclose()


async def test_an_address_that_gets_no_mail_costs_the_server_a_question_and_no_letter(
    app: FastAPI, resources: Resources, worker: TestWorker, office: PostOffice, people: None
) -> None:
    asked: list[str] = []

    def note(address: str) -> None:
        asked.append(address)

    office.recipients = note
    browser = await ask(app, BLOCKED)
    await try_all(resources, worker)
    assert (asked, office.received) == ([OUR_OWN], [])
    await browser.aclose()
