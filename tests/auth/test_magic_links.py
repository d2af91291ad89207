"""From asking for a link to the mail in the box."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, update

from app.auth.magic_links import requeue_links
from app.core.settings.model import Settings
from app.mail.sender import SmtpMailer
from app.models import LinkPurpose, LinkRequest, LinkRequestState, MagicLink, User, UserState, utcnow
from app.resources import Resources
from tests.conftest import TestWorker
from tests.support.emails import Inbox, PostOffice, text_of
from tests.support.factories import make_user
from tests.support.link_requests import make_due, make_request, request_of
from workers.context import WorkerContext
from workers.jobs.send_mail import deliver

Send = Callable[[UUID], Awaitable[None]]


async def ask(client: httpx.AsyncClient, path: str, address: str, **headers: str) -> httpx.Response:
    return await client.post(f"/api/auth/{path}", json={"email": address}, headers=headers)


def shown(answer: httpx.Response) -> tuple[tuple[str, str], ...]:
    """The headers, but for what is random in every answer."""
    known = {**answer.headers, "x-request-id": "", "set-cookie": re.sub("=[A-Za-z0-9_-]{43};", "=…;", _cookie(answer))}
    return tuple(sorted(known.items()))


def _cookie(answer: httpx.Response) -> str:
    (cookie,) = answer.headers.get_list("set-cookie")
    return cookie


async def count(resources: Resources, table: type[User] | type[MagicLink]) -> int:
    async with resources.sessions() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


@pytest.fixture
def send(worker: TestWorker, settings: Settings, post_office: PostOffice) -> Send:
    """Run the job once, now, against the test's own mail server."""
    url = f"smtp://127.0.0.1:{post_office.port}"
    made = worker.context
    context = WorkerContext(made.resources, made.runtime, SmtpMailer(url, settings.mail_from))
    return lambda request_id: deliver(context, request_id)


async def test_signing_up_mails_a_link_that_signs_in(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    answer = await ask(client, "signup", "Alice@Example.org")
    assert answer.status_code == 200
    assert set(answer.json()) == {"message"}
    await worker.drain()
    mail = inbox.to("Alice@example.org")[0]
    assert mail["Subject"] == "Confirm your address for localhost:8080"
    assert mail["Auto-Submitted"] == "auto-generated"
    signed_in = await client.post("/api/auth/verify", json={"token": inbox.token("Alice@example.org")})
    assert signed_in.json()["user"]["slug"] == "alice"
    async with resources.sessions() as session:
        row = (await session.scalars(select(LinkRequest))).one()
    assert (row.state, row.attempts) == (LinkRequestState.SENT, 1)
    assert row.finished_at is not None


async def test_the_answer_is_the_same_whoever_asks(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    await make_user(resources, "known")
    blocked = await make_user(resources, "blocked")
    async with resources.unit_of_work() as session:
        await session.execute(update(User).where(User.id == blocked.id).values(blocked_at=utcnow()))
    people = ("known", "blocked", "unknown", "undeliverable.nowhere")
    answers = []
    for who in people:
        for path in ("signup", "login"):
            client.cookies.clear()
            answers.append(await ask(client, path, f"{who}@example.org"))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len({shown(answer) for answer in answers}) == 1
    assert inbox.to("") == []
    await worker.drain()
    assert len(inbox.to("known@example.org")) == 2
    assert inbox.to("blocked@example.org") == []
    assert inbox.to("unknown@example.org")


@pytest.mark.parametrize("policy", ["closed", "domains", "open"])
async def test_the_answer_does_not_tell_who_may_sign_up(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox, policy: str
) -> None:
    # The worker and the API share these settings.
    resources.settings.signup = policy  # type: ignore[assignment]
    resources.settings.signup_domains = ["Corp.example", "@müller.example"]
    addresses = ("a@corp.example", "b@xn--mller-kva.example", "c@sub.corp.example", "d@example.org")
    answers = [await ask(client, "signup", address) for address in addresses]
    assert len({(answer.status_code, answer.content) for answer in answers}) == 1
    await worker.drain()
    allowed = {"closed": 0, "domains": 2, "open": 4}[policy]
    assert [len(inbox.to(address)) for address in addresses] == [1] * allowed + [0] * (4 - allowed)
    assert (await count(resources, MagicLink), await count(resources, User)) == (allowed, 0)


async def test_signing_in_to_no_account_makes_none(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    await ask(client, "login", "nobody@example.org")
    await worker.drain()
    assert inbox.to("") == []
    assert await count(resources, User) == 0
    async with resources.sessions() as session:
        assert list(await session.scalars(select(LinkRequest.state))) == [LinkRequestState.DROPPED]


async def test_mails_are_in_the_language_of_the_request(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    await make_user(resources)
    answer = await ask(client, "signup", "alice@example.org", **{"Accept-Language": "de-AT,de;q=0.9,en;q=0.8"})
    assert "unterwegs" in answer.json()["message"]
    await worker.drain()
    mail = inbox.to("alice@example.org")[0]
    assert mail["Subject"] == "Dein Anmeldelink für localhost:8080"
    assert "10 Minuten" in text_of(mail)
    assert "möchte" in text_of(mail, "html")


@pytest.mark.parametrize(
    "address", ["", "alice", "a@b@c.org", "a@example.org,b@example.org", "a\r\nBcc: b@example.org", "a" * 9999]
)
async def test_an_unusable_address_is_named(client: httpx.AsyncClient, resources: Resources, address: str) -> None:
    for path in ("signup", "login"):
        answer = await ask(client, path, address)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [("email", "invalid_email")]
    german = await ask(client, "signup", address, **{"Accept-Language": "de"})
    assert german.json()["errors"][0]["message"] == "Das ist keine brauchbare E-Mail-Adresse."


async def test_running_twice_at_once_mails_once(resources: Resources, send: Send, post_office: PostOffice) -> None:
    request_id = await make_request(resources)
    await asyncio.gather(*(send(request_id) for _ in range(8)))
    await send(request_id)
    assert len(post_office.received) == 1
    assert await count(resources, MagicLink) == 1


async def test_a_server_that_is_down_gets_the_mail_when_it_is_back(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, send: Send, inbox: Inbox, settings: Settings
) -> None:
    await ask(client, "signup", "alice@example.org")
    made = worker.context
    down = WorkerContext(made.resources, made.runtime, SmtpMailer("smtp://127.0.0.1:1", settings.mail_from))
    async with resources.sessions() as session:
        request_id = (await session.scalars(select(LinkRequest.id))).one()
    await deliver(down, request_id)
    waiting = await request_of(resources, request_id)
    assert (waiting.state, waiting.attempts) == (LinkRequestState.QUEUED, 1)
    assert waiting.run_at > utcnow()
    # The queue still holds the first message and the one put off; the worker waits for the latter.
    await worker.drain()
    assert len(inbox.to("alice@example.org")) == 1
    sent = await request_of(resources, request_id)
    assert (sent.state, sent.attempts) == (LinkRequestState.SENT, 2)
    signed_in = await client.post("/api/auth/verify", json={"token": inbox.token("alice@example.org")})
    assert signed_in.status_code == 200


async def test_each_attempt_waits_longer(resources: Resources, send: Send, post_office: PostOffice) -> None:
    request_id = await make_request(resources)
    post_office.recipients = lambda _: "451 later"
    waits = []
    for _ in range(8):
        await send(request_id)
        row = await request_of(resources, request_id)
        waits.append(round((row.run_at - utcnow()).total_seconds()))
        await make_due(resources, request_id)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_trying_ends_with_the_links_life(resources: Resources, send: Send, post_office: PostOffice) -> None:
    request_id = await make_request(resources, seconds=3)
    post_office.answers = ["451 later"] * 3
    await send(request_id)
    await make_due(resources, request_id, attempts=5)
    await send(request_id)
    row = await request_of(resources, request_id)
    assert (row.state, row.attempts) == (LinkRequestState.FAILED, 6)
    assert row.finished_at is not None


@pytest.mark.parametrize("part", ["answers", "data_answers"])
async def test_a_recipient_or_content_refused_for_good_is_not_tried_again(
    resources: Resources, send: Send, post_office: PostOffice, part: str
) -> None:
    request_id = await make_request(resources)
    setattr(post_office, part, ["550 no such mailbox"])
    await send(request_id)
    assert (await request_of(resources, request_id)).state == LinkRequestState.FAILED
    await send(request_id)
    assert post_office.received == []


async def test_a_request_that_is_too_late_is_not_sent(
    resources: Resources, send: Send, post_office: PostOffice
) -> None:
    request_id = await make_request(resources, seconds=-1)
    await send(request_id)
    assert post_office.received == []
    assert await count(resources, User) == 0


async def test_an_account_blocked_in_the_meantime_gets_no_mail(
    resources: Resources, send: Send, post_office: PostOffice
) -> None:
    user = await make_user(resources)
    request_id = await make_request(resources, purpose=LinkPurpose.LOGIN)
    async with resources.unit_of_work() as session:
        await session.execute(update(User).where(User.id == user.id).values(blocked_at=utcnow()))
    await send(request_id)
    assert post_office.received == []
    assert (await request_of(resources, request_id)).state == LinkRequestState.DROPPED


async def test_an_account_that_never_confirmed_is_asked_to(
    resources: Resources, send: Send, post_office: PostOffice
) -> None:
    await make_user(resources, state=UserState.REGISTERED)
    await send(await make_request(resources, purpose=LinkPurpose.LOGIN))
    assert b"Subject: Confirm your address" in (post_office.received[0].original_content or b"")


async def test_what_the_queue_lost_is_sent_all_the_same(resources: Resources, worker: TestWorker, inbox: Inbox) -> None:
    lost = await make_request(resources, "lost@example.org", run_at=utcnow() - timedelta(seconds=5))
    held = await make_request(resources, "held@example.org", run_at=utcnow() + timedelta(seconds=20), attempts=1)
    late = await make_request(resources, "late@example.org", seconds=-1, run_at=utcnow() - timedelta(seconds=5))
    async with resources.unit_of_work() as session:
        assert await requeue_links(session) == 1
    await worker.drain()
    states = [(await request_of(resources, request_id)).state for request_id in (lost, held, late)]
    assert states == [LinkRequestState.SENT, LinkRequestState.QUEUED, LinkRequestState.FAILED]
    assert [len(inbox.to(f"{who}@example.org")) for who in ("lost", "held", "late")] == [1, 0, 0]


async def test_a_mail_whose_worker_died_is_sent_by_another(
    resources: Resources, send: Send, post_office: PostOffice
) -> None:
    request_id = await make_request(resources, attempts=1, run_at=utcnow() + timedelta(seconds=20))
    await send(request_id)
    assert post_office.received == []
    await make_due(resources, request_id)
    await send(request_id)
    assert len(post_office.received) == 1


async def test_a_worker_that_lost_its_claim_does_not_overwrite_the_outcome(
    resources: Resources, send: Send, post_office: PostOffice
) -> None:
    request_id = await make_request(resources)

    async def overtake() -> None:
        await make_due(resources, request_id, attempts=7)

    post_office.before, post_office.answers = overtake, ["550 no"]
    await send(request_id)
    row = await request_of(resources, request_id)
    assert (row.state, row.attempts) == (LinkRequestState.QUEUED, 7)
