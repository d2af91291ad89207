"""What asking for a link and spending it write: a row that lacks a column looks right until somebody needs it."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from app.accounts.device_cookie import DeviceCookie, hash_of, mark_trusted
from app.accounts.principal import Client
from app.auth.bootstrap import claim_bootstrap
from app.auth.errors import Blocked, InvalidLink
from app.auth.magic_links import claim_link, make_link, mark_dropped, mark_refused, mark_sent, request_link
from app.auth.one_time_codes import count_try, read_code, verify_code
from app.auth.operators import make_admin, make_sign_in_link
from app.auth.service import LinkPreview, preview_link, verify
from app.mail.messages import Email
from app.models import (
    Bootstrap,
    Invitation,
    LinkPurpose,
    LinkRequest,
    LinkRequestState,
    MagicLink,
    Session,
    User,
    UserState,
)
from app.resources import Resources
from app.security.tokens import new_token
from tests.support.clocks import Time
from tests.support.factories import make_user
from tests.support.queues import queued
from tests.support.rows import audited, row, rows
from workers.loops.retention import delete_expired

BROWSER = DeviceCookie(new_token())
HERE = Client("203.0.113.9", "an agent")
ALICE = "alice@example.org"


@pytest.fixture(autouse=True)
def stopped(time: Time) -> Time:
    return time


async def request(
    resources: Resources, *, purpose: LinkPurpose = LinkPurpose.SIGNUP, locale: str = "de"
) -> LinkRequest:
    async with resources.unit_of_work() as session:
        await request_link(session, resources, purpose, ALICE, locale, "127.0.0.1", BROWSER)  # type: ignore[arg-type]
    async with resources.sessions() as session:
        return (await session.scalars(select(LinkRequest))).one()


async def claim(resources: Resources, wanted: LinkRequest) -> Email:
    async with resources.unit_of_work() as session:
        delivery = await claim_link(session, resources, wanted.id)
    assert delivery is not None
    assert delivery.letter is not None
    return delivery.letter


async def test_a_request_for_a_link(resources: Resources, time: Time) -> None:
    wanted = await request(resources)
    assert await row(resources, LinkRequest) == {
        "email": ALICE,
        "mailbox": None,
        "purpose": LinkPurpose.SIGNUP,
        "locale": "de",
        "renewal": False,
        "state": LinkRequestState.QUEUED,
        "attempts": 0,
        "transmissions": 0,
        "run_at": time.now,
        "created_at": time.now,
        "expires_at": time.now + timedelta(hours=1),
        "delivery": None,
        "delivery_at": None,
        "finished_at": None,
        "browser_hash": hash_of(resources.tokens, BROWSER),
        "code_tries": 0,
        "destination": None,
        "used_at": None,
    }
    assert await queued(resources) == {f"send_link:{wanted.id}"}


async def test_a_request_outlives_the_longest_lived_link_that_was_made_for_it_last(
    resources: Resources, time: Time
) -> None:
    resources.settings.magic_link_seconds = 24 * 3600
    wanted = await request(resources)
    time.pass_(seconds=59 * 60)
    await claim(resources, wanted)
    time.pass_(seconds=24 * 3600 - 60)
    await delete_expired(resources)
    link = await row(resources, MagicLink)
    assert link["expires_at"] > time.now
    assert link["request_id"] == wanted.id


async def test_a_link_that_is_mailed(resources: Resources, time: Time) -> None:
    wanted = await request(resources)
    made = time.now
    time.pass_(seconds=7)
    letter = await claim(resources, wanted)
    found = await row(resources, MagicLink)
    assert await rows(resources, User) == []
    code = next(word for line in letter.text.splitlines() for word in [line.strip()] if read_code(word))
    token = letter.text.partition("#token=")[2].split()[0]
    life = timedelta(seconds=resources.settings.magic_link_seconds)
    assert found == {
        "user_id": None,
        "email": ALICE,
        "mailbox": None,
        "token_hash": resources.tokens.hash("link", token),
        "request_id": wanted.id,
        "browser_hash": hash_of(resources.tokens, BROWSER),
        "code_hash": resources.tokens.hash("code", code.replace("-", "")),
        "created_at": time.now,
        "expires_at": time.now + life,
        "spent_at": None,
    }
    assert letter.to == ALICE
    assert token.isascii()
    claimed = await row(resources, LinkRequest)
    assert (claimed["attempts"], claimed["run_at"]) == (1, time.now + timedelta(seconds=30))
    assert (claimed["created_at"], claimed["state"], claimed["finished_at"]) == (made, LinkRequestState.QUEUED, None)


async def find_user(resources: Resources, address: str = ALICE) -> User:
    async with resources.sessions() as session:
        return (await session.scalars(select(User).where(User.email == address))).one()


@pytest.mark.parametrize(
    ("state", "locale", "subject"),
    [
        (UserState.REGISTERED, "de", "Bestätige deine Adresse für localhost:8080"),
        (UserState.VERIFIED, "de", "Dein Anmeldelink für localhost:8080"),
        (UserState.REGISTERED, "en", "Confirm your address for localhost:8080"),
        (UserState.VERIFIED, "en", "Your sign-in link for localhost:8080"),
        (UserState.VERIFIED, "fr", "Your sign-in link for localhost:8080"),
    ],
)
async def test_a_letter_says_what_its_link_does_in_the_language_of_the_request(
    resources: Resources, state: UserState, locale: str, subject: str
) -> None:
    await make_user(resources, state=state)
    letter = await claim(resources, await request(resources, locale=locale))
    assert letter.subject == subject
    assert f"{resources.settings.public_url}/auth/confirm#token=" in letter.text


async def test_a_request_that_may_have_no_link_is_dropped(resources: Resources, time: Time) -> None:
    wanted = await request(resources, purpose=LinkPurpose.LOGIN)
    async with resources.unit_of_work() as session:
        delivery = await claim_link(session, resources, wanted.id)
        assert delivery is not None
        assert delivery.letter is None
        await mark_dropped(session, delivery)
    found = await row(resources, LinkRequest)
    assert (found["state"], found["finished_at"], found["attempts"]) == (LinkRequestState.DROPPED, time.now, 1)
    assert await rows(resources, User) == await rows(resources, MagicLink) == []


@pytest.mark.parametrize(
    ("settle", "state"), [(mark_sent, LinkRequestState.SENT), (mark_refused, LinkRequestState.FAILED)]
)
async def test_what_became_of_a_request(resources: Resources, time: Time, settle: Any, state: LinkRequestState) -> None:
    wanted = await request(resources)
    async with resources.unit_of_work() as session:
        delivery = await claim_link(session, resources, wanted.id)
        await request_link(session, resources, LinkPurpose.LOGIN, "bob@example.org", "en", "127.0.0.1", BROWSER)
    assert delivery is not None
    time.pass_(seconds=3)
    async with resources.unit_of_work() as session:
        await settle(session, delivery)
    found = {one["email"]: one for one in await rows(resources, LinkRequest)}
    assert (found[ALICE]["state"], found[ALICE]["finished_at"]) == (state, time.now)
    assert (found["bob@example.org"]["state"], found["bob@example.org"]["finished_at"]) == (
        LinkRequestState.QUEUED,
        None,
    )


async def test_a_link_of_an_operator(resources: Resources, time: Time) -> None:
    async with resources.unit_of_work() as session:
        user = await make_admin(session, ALICE)
        address = make_sign_in_link(session, resources, user)
    before, _, token = address.partition("#token=")
    assert before == f"{resources.settings.public_url}/auth/confirm"
    assert await row(resources, MagicLink) == {
        "user_id": user.id,
        "email": None,
        "mailbox": None,
        "token_hash": resources.tokens.hash("link", token),
        "request_id": None,
        "browser_hash": None,
        "code_hash": None,
        "created_at": time.now,
        "expires_at": time.now + timedelta(seconds=resources.settings.magic_link_seconds),
        "spent_at": None,
    }
    assert await row(resources, Bootstrap) == {"user_id": user.id, "at": time.now}
    assert (await row(resources, User))["is_admin"] is True
    assert await audited(resources) == [
        ("user_promoted", "user", str(user.id), "command", "ok", None),
        ("link_made", "user", str(user.id), "command", "ok", None),
    ]
    async with resources.unit_of_work() as session:
        assert (await make_admin(session, ALICE)).id == user.id
        assert not await claim_bootstrap(session, uuid4())
    assert len(await audited(resources)) == 2


async def test_a_link_that_is_spent(resources: Resources, time: Time) -> None:
    made = time.now
    user = await make_user(resources, state=UserState.REGISTERED)
    other = await make_user(resources, "bob")
    async with resources.unit_of_work() as session:
        token, sibling = (make_link(session, resources, user) for _ in range(2))
        make_link(session, resources, other)
    earlier = time.now - timedelta(minutes=1)
    async with resources.unit_of_work() as session:
        old = resources.tokens.hash("link", sibling)
        await session.execute(update(MagicLink).where(MagicLink.token_hash == old).values(spent_at=earlier))
        session.add(Invitation(email=ALICE, expires_at=time.now + timedelta(days=1)))
        session.add(Invitation(email="bob@example.org", expires_at=time.now + timedelta(days=1)))
    time.pass_(seconds=5)
    signed_in = await verify(resources, token, HERE, "en")
    spent = {one["token_hash"]: one["spent_at"] for one in await rows(resources, MagicLink)}
    assert spent.pop(resources.tokens.hash("link", token)) == time.now
    assert spent.pop(old) == earlier
    assert list(spent.values()) == [None]
    accepted = {one["email"]: one["accepted_at"] for one in await rows(resources, Invitation)}
    assert accepted == {ALICE: time.now, "bob@example.org": None}
    found = await find_user(resources)
    assert (found.state, found.is_admin, found.last_used) == (UserState.VERIFIED, True, time.now)
    assert await row(resources, Bootstrap) == {"user_id": user.id, "at": time.now}
    assert (await find_user(resources, "bob@example.org")).last_used is None
    promoted = ("user_promoted", "user", str(user.id), "system", "ok", "first to confirm an address")
    assert (await audited(resources))[:2] == [promoted, ("signed_in", "user", str(user.id), ALICE, "ok", "link")]
    opened = await row(resources, Session)
    assert (opened["address"], opened["user_agent"]) == (HERE.address, HERE.user_agent)
    access = resources.tokens.read(signed_in.access_token)
    assert (access.user_id, access.is_admin) == (user.id, True)
    assert signed_in.job is not None
    assert found.created_at == made


async def test_signing_in_again_makes_nobody_admin_and_spends_no_invitation(resources: Resources) -> None:
    user = await make_user(resources)
    async with resources.unit_of_work() as session:
        token = make_link(session, resources, user)
        session.add(Invitation(email=ALICE, expires_at=user.created_at + timedelta(days=1)))
    signed_in = await verify(resources, token, HERE, "en")
    assert (await find_user(resources)).is_admin is False
    assert await rows(resources, Bootstrap) == []
    assert (await row(resources, Invitation))["accepted_at"] is None
    assert resources.tokens.read(signed_in.access_token).is_admin is False


async def test_a_code_that_is_spent_tells_its_client_and_how(resources: Resources, time: Time) -> None:
    letter = await claim(resources, await request(resources))
    code = next(word for line in letter.text.splitlines() for word in [line.strip()] if read_code(word))
    signed_in = await verify_code(resources, code, BROWSER, HERE, "en")
    opened = await row(resources, Session)
    assert (opened["address"], opened["user_agent"]) == (HERE.address, HERE.user_agent)
    assert ("signed_in", "user", str(signed_in.user.id), ALICE, "ok", "code") in await audited(resources)


async def test_what_is_seen_of_a_link(resources: Resources) -> None:
    letter = await claim(resources, await request(resources))
    token = letter.text.partition("#token=")[2].split()[0]
    assert await preview_link(resources, token, BROWSER) == LinkPreview(True, ALICE, "", None)
    assert await preview_link(resources, token, DeviceCookie(new_token())) == LinkPreview(
        False, "a•••@example.org", "", None
    )
    assert await preview_link(resources, token, mark_trusted(resources.tokens, BROWSER, ALICE)) == LinkPreview(
        True, ALICE, "", None
    )


async def test_tries_are_counted_on_the_requests_of_this_browser_alone(resources: Resources) -> None:
    async with resources.unit_of_work() as session:
        for address, browser in ((ALICE, BROWSER), ("bob@example.org", DeviceCookie(new_token()))):
            await request_link(session, resources, LinkPurpose.LOGIN, address, "en", "127.0.0.1", browser)
    assert [one.email for one in await count_try(resources, BROWSER)] == [ALICE]
    counted = {one["email"]: one["code_tries"] for one in await rows(resources, LinkRequest)}
    assert counted == {ALICE: 1, "bob@example.org": 0}


async def test_a_link_of_a_blocked_account_is_a_refusal_of_it(resources: Resources, time: Time) -> None:
    user, other = await make_user(resources), await make_user(resources, "bob")
    async with resources.unit_of_work() as session:
        token = make_link(session, resources, user)
        make_link(session, resources, other)
        await session.execute(update(User).where(User.id == user.id).values(blocked_at=time.now))
    with pytest.raises(Blocked):
        await verify(resources, token, HERE, "en")
    assert await audited(resources) == [("sign_in_refused", "user", str(user.id), ALICE, "blocked", None)]


async def test_a_link_shows_its_own_account(resources: Resources) -> None:
    user, other = await make_user(resources), await make_user(resources, "bob")
    async with resources.unit_of_work() as session:
        mine, theirs = make_link(session, resources, user), make_link(session, resources, other)
    assert (await preview_link(resources, mine, BROWSER)).address == "a•••@example.org"
    assert (await preview_link(resources, theirs, BROWSER)).address == "b•••@example.org"
    with pytest.raises(InvalidLink):
        await preview_link(resources, new_token(), BROWSER)
