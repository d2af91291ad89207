"""Codes: the second way to spend a link, in the browser that asked for it."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from app.accounts.device_cookie import read_device_cookie
from app.accounts.principal import Client
from app.auth.errors import InvalidCode
from app.auth.one_time_codes import ALPHABET, MAX_TRIES, count_try, new_code, read_code, show_code, verify_code
from app.models import AuditEntry, LinkRequest, MagicLink, Session, User, utcnow
from app.resources import Resources
from tests.conftest import TestWorker
from tests.support.crowd import crowd
from tests.support.emails import Inbox
from tests.support.factories import make_user

ALICE = "alice@example.org"


@pytest.fixture
async def elsewhere(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Another browser."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as opened:
        yield opened


async def ask(client: httpx.AsyncClient, worker: TestWorker, inbox: Inbox, address: str = ALICE) -> str:
    """Ask for a link in this browser; the code in its mail."""
    assert (await client.post("/api/auth/signup", json={"email": address})).status_code == 200
    await worker.drain()
    return inbox.code(address)


async def enter(client: httpx.AsyncClient, code: str) -> httpx.Response:
    return await client.post("/api/auth/verify-code", json={"code": code})


def wrong(code: str) -> str:
    """Another code than this one."""
    return code[:-1] + ("0" if code[-1] != "0" else "1")


async def tries(resources: Resources) -> list[int]:
    async with resources.sessions() as session:
        return list(await session.scalars(select(LinkRequest.code_tries).order_by(LinkRequest.created_at)))


@given(st.text(ALPHABET, min_size=8, max_size=8))
def test_a_code_is_read_however_it_is_typed(code: str) -> None:
    shown = show_code(code)
    typed = (shown, shown.lower(), f" {code[:2]} {code[2:6]}-{code[6:]} ", code.replace("1", "l").replace("0", "o"))
    assert {read_code(one) for one in (*typed, code.replace("1", "I"))} == {code}


@pytest.mark.parametrize(
    "typed", ["", "7K2M-Q9X", "7K2M-Q9XDD", "7K2M-Q9XU", "７K2M-Q9XD", "7K2M\tQ9XD", "7K2M_Q9XD", "ß" * 8]
)
def test_what_is_no_code_is_none(typed: str) -> None:
    assert read_code(typed) is None


def test_codes_are_never_alike_and_use_the_whole_alphabet() -> None:
    made = {new_code() for _ in range(1000)}
    assert len(made) == 1000
    assert set("".join(made)) == set(ALPHABET)
    assert len(ALPHABET) == 32


async def test_a_code_signs_in_once_in_the_browser_that_asked_and_ends_the_link(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    code = await ask(client, worker, inbox)
    answer = await enter(client, code.lower())
    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "token_type", "expires_in", "user", "job"}
    assert answer.json()["user"]["email"] == ALICE
    assert (await client.get("/api/user/me")).status_code == 200
    assert (await enter(client, code)).json()["code"] == "invalid_code"
    link = await client.post("/api/auth/verify", json={"token": inbox.token(ALICE)})
    assert link.json()["code"] == "invalid_link"
    async with resources.sessions() as session:
        rows = await session.execute(select(AuditEntry.action, AuditEntry.detail).order_by(AuditEntry.id))
    assert [tuple(row) for row in rows] == [
        ("user_promoted", "first to confirm an address"),
        ("signed_in", "code"),
        ("workspace_launch_requested", "hello"),
    ]


async def test_using_the_link_ends_its_code(client: httpx.AsyncClient, worker: TestWorker, inbox: Inbox) -> None:
    code = await ask(client, worker, inbox)
    assert (await client.post("/api/auth/verify", json={"token": inbox.token(ALICE)})).status_code == 200
    assert (await enter(client, code)).json()["code"] == "invalid_code"


async def test_a_code_is_worth_nothing_in_another_browser(
    client: httpx.AsyncClient, elsewhere: httpx.AsyncClient, worker: TestWorker, inbox: Inbox
) -> None:
    code = await ask(client, worker, inbox)
    for _ in range(2):
        assert (await enter(elsewhere, code)).json()["code"] == "invalid_code"
        await ask(elsewhere, worker, inbox, "mallory@example.org")
    assert (await enter(client, code)).status_code == 200


async def test_each_of_several_codes_works_and_ends_the_others(
    client: httpx.AsyncClient, worker: TestWorker, inbox: Inbox
) -> None:
    first, second = [await ask(client, worker, inbox) for _ in range(2)]
    assert first != second
    assert (await enter(client, first)).status_code == 200
    assert (await enter(client, second)).status_code == 400


async def test_five_wrong_codes_end_the_code_but_not_the_link(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    code = await ask(client, worker, inbox)
    for _ in range(MAX_TRIES):
        assert (await enter(client, wrong(code))).json()["code"] == "invalid_code"
    assert (await enter(client, code)).json()["code"] == "invalid_code"
    async with resources.sessions() as session:
        columns = (AuditEntry.action, AuditEntry.target_kind, AuditEntry.target, AuditEntry.outcome, AuditEntry.actor)
        rows = await session.execute(select(*columns))
    assert [tuple(row) for row in rows] == [("sign_in_refused", "address", ALICE, "invalid_code", "system")]
    assert (await client.post("/api/auth/verify", json={"token": inbox.token(ALICE)})).status_code == 200


async def test_a_typing_error_that_is_no_code_costs_no_try(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    code = await ask(client, worker, inbox)
    for _ in range(MAX_TRIES):
        assert (await enter(client, code[:-1])).status_code == 400
    assert await tries(resources) == [0]
    assert (await enter(client, code)).status_code == 200


async def test_of_fifty_tries_at_once_five_are_judged(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    code = read_code(await ask(client, worker, inbox))
    assert code is not None
    answers = await crowd(enter(client, wrong(code)) for _ in range(50))
    assert {answer.json()["code"] for answer in answers} == {"invalid_code"}
    assert await tries(resources) == [MAX_TRIES]
    assert (await enter(client, code)).status_code == 400
    async with resources.sessions() as session:
        assert await session.scalar(select(func.count()).where(AuditEntry.action == "sign_in_refused")) == 1


async def test_fifty_at_once_are_given_five_tries(client: httpx.AsyncClient, resources: Resources) -> None:
    for _ in range(2):
        await client.post("/api/auth/login", json={"email": ALICE})
    browser = read_device_cookie(client.cookies["spawner_browser"])
    given = await crowd(count_try(resources, browser) for _ in range(50))
    assert [len(requests) for requests in given if requests] == [2] * MAX_TRIES
    assert await tries(resources) == [MAX_TRIES] * 2


async def test_fifty_right_codes_at_once_sign_in_once(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    code = await ask(client, worker, inbox)
    answers = await crowd(enter(client, code) for _ in range(50))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 49
    async with resources.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Session)) == 1


async def test_wrong_codes_of_a_stranger_cost_the_owner_no_try(
    client: httpx.AsyncClient, elsewhere: httpx.AsyncClient, worker: TestWorker, inbox: Inbox
) -> None:
    code = await ask(client, worker, inbox)
    theirs = await ask(elsewhere, worker, inbox)
    for _ in range(MAX_TRIES + 1):
        await enter(elsewhere, wrong(theirs))
    assert (await enter(client, code)).status_code == 200


async def test_a_blocked_accounts_code_is_refused_and_stays_unspent(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    await make_user(resources)
    code = await ask(client, worker, inbox)
    async with resources.unit_of_work() as session:
        await session.execute(update(User).values(blocked_at=utcnow()))
    assert (await enter(client, code)).json()["code"] == "blocked"
    async with resources.sessions() as session:
        assert await session.scalar(select(MagicLink.spent_at)) is None
        rows = await session.execute(select(AuditEntry.action, AuditEntry.actor, AuditEntry.outcome))
    assert [tuple(row) for row in rows] == [("sign_in_refused", ALICE, "blocked")]


async def test_a_wrong_code_does_the_same_work_whether_the_address_has_an_account(
    resources: Resources, client: httpx.AsyncClient, worker: TestWorker
) -> None:
    """Signing in to no account makes no link, but a request to count tries on."""
    await make_user(resources)
    counted = {}
    for address in (ALICE, "nobody@example.org"):
        client.cookies.clear()
        await client.post("/api/auth/login", json={"email": address})
        await worker.drain()
        browser = read_device_cookie(client.cookies["spawner_browser"])
        with pytest.raises(InvalidCode):
            await verify_code(resources, "AAAAAAAA", browser, Client("", ""), "en")
        async with resources.sessions() as session:
            query = select(LinkRequest.code_tries).where(LinkRequest.email == address)
            counted[address] = await session.scalar(query)
    assert set(counted.values()) == {1}


async def test_no_code_is_stored_in_clear(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    code = await ask(client, worker, inbox)
    async with resources.sessions() as session:
        rows = [
            *(await session.execute(select(*MagicLink.__table__.columns))).all(),
            *(await session.execute(select(*LinkRequest.__table__.columns))).all(),
        ]
    stored = " ".join(str(value) for row in rows for value in row)
    for secret in (code, code.replace("-", ""), client.cookies["spawner_browser"]):
        assert secret not in stored
        assert secret.encode().hex() not in stored
