"""What is good until an instant is good just before it, and over at that instant."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select, update

from app.accounts import api_tokens, sessions
from app.accounts.device_cookie import DeviceCookie, hash_of
from app.accounts.errors import MAX_TOKENS, TooManyTokens
from app.accounts.principal import Client, Principal, Scope, confirm, principal_by_bearer, principal_by_cookie
from app.accounts.session_cookies import access_name
from app.auth import magic_links
from app.auth.errors import InvalidCode, InvalidLink
from app.auth.invitations import find_invitation
from app.auth.one_time_codes import count_try, verify_code
from app.auth.service import preview_link, verify
from app.core.errors import NotFound, Unauthorized
from app.models import ApiToken, Invitation, LinkPurpose, LinkRequest, MagicLink, Session, User
from app.resources import Resources
from app.security.errors import InvalidToken
from app.security.tokens import new_token
from tests.support.clocks import Time
from tests.support.factories import SignedIn, make_link, make_token, make_user, sign_in

BROWSER = DeviceCookie(new_token())
LAST = timedelta(microseconds=1)
HERE = Client("", "")
Try = Callable[[], Awaitable[object]]


@pytest.fixture(autouse=True)
def stopped(time: Time) -> Time:
    return time


@pytest.fixture
async def alice(stopped: Time, resources: Resources) -> SignedIn:
    return await sign_in(resources)


async def is_good(attempt: Try) -> bool:
    try:
        return bool(await attempt())
    except (InvalidLink, InvalidCode, InvalidToken, NotFound, Unauthorized):
        return False


async def ends_at(time: Time, seconds: float, attempt: Try) -> None:
    """The attempt succeeds up to so many seconds from now, and never from then on."""
    start = time.now
    time.now = start + timedelta(seconds=seconds) - LAST
    assert await is_good(attempt)
    time.now = start + timedelta(seconds=seconds)
    assert not await is_good(attempt)


async def test_a_link_to_look_at(resources: Resources, time: Time) -> None:
    token = await make_link(resources, await make_user(resources))

    async def seen() -> object:
        return await preview_link(resources, token, BROWSER)

    await ends_at(time, 600, seen)


async def test_a_link_to_spend(resources: Resources, time: Time) -> None:
    user = await make_user(resources)
    tokens = [await make_link(resources, user) for _ in range(2)]

    async def spend() -> object:
        async with resources.unit_of_work() as session:
            token = tokens.pop()
            # What one sign-in would end is not what this is about.
            await session.execute(update(MagicLink).values(spent_at=None))
        return await verify(resources, token, HERE, "en")

    await ends_at(time, 600, spend)


async def test_the_link_of_an_operator(resources: Resources, time: Time) -> None:
    async with resources.unit_of_work() as session:
        token = magic_links.make_link(session, resources, await session.merge(await make_user(resources)))

    async def seen() -> object:
        return await preview_link(resources, token, BROWSER)

    await ends_at(time, resources.settings.magic_link_seconds, seen)


async def ask(resources: Resources, time: Time, *, code: str = "AAAAAAAA") -> None:
    """A request of the browser, and the link that was made for it a minute later."""
    life = timedelta(seconds=resources.settings.magic_link_seconds)
    user = await make_user(resources)
    async with resources.unit_of_work() as session:
        request = LinkRequest(
            email=user.email,
            purpose=LinkPurpose.LOGIN,
            locale="en",
            expires_at=time.now + life,
            browser_hash=hash_of(resources.tokens, BROWSER),
        )
        session.add(request)
        await session.flush()
        time.pass_(minutes=1)
        link = MagicLink(
            user_id=user.id,
            token_hash=b"link",
            request_id=request.id,
            code_hash=resources.tokens.hash("code", code),
            expires_at=time.now + life,
        )
        session.add(link)


async def test_a_code_lives_as_long_as_its_link(resources: Resources, time: Time) -> None:
    await ask(resources, time)

    async def enter() -> object:
        async with resources.unit_of_work() as session:
            await session.execute(update(MagicLink).values(spent_at=None))
        return await verify_code(resources, "AAAA-AAAA", BROWSER, HERE, "en")

    await ends_at(time, resources.settings.magic_link_seconds, enter)


async def test_tries_count_for_as_long_as_a_link_of_the_request_may_live(resources: Resources, time: Time) -> None:
    await ask(resources, time)
    time.pass_(minutes=-1)
    await ends_at(time, 2 * resources.settings.magic_link_seconds, lambda: count_try(resources, BROWSER))


async def test_a_session_by_its_access_token(resources: Resources, alice: SignedIn, time: Time) -> None:
    async def ask() -> object:
        token = resources.tokens.issue(alice.user.id, alice.session.id, is_admin=False)
        return await principal_by_bearer(resources, token)

    await ends_at(time, resources.settings.session_seconds, ask)


async def test_a_session_by_its_cookie(resources: Resources, alice: SignedIn, time: Time) -> None:
    await ends_at(time, resources.settings.page_access_seconds, lambda: principal_by_cookie(resources, alice.cookie))


async def test_a_session_in_the_middle_of_a_stream(resources: Resources, alice: SignedIn, time: Time) -> None:
    caller = Principal(alice.user, alice.session.id)

    async def go_on() -> object:
        await confirm(resources, caller)
        return True

    await ends_at(time, resources.settings.session_seconds, go_on)


async def test_a_session_to_renew(resources: Resources, alice: SignedIn, time: Time) -> None:
    await ends_at(time, resources.settings.session_seconds, lambda: sessions.refresh(resources, alice.refresh))


@pytest.mark.parametrize("tries", [1, 2])
async def test_a_token_that_is_just_made_renews_to_itself(
    resources: Resources, alice: SignedIn, time: Time, tries: int
) -> None:
    async def is_the_same() -> object:
        for _ in range(tries):
            renewed = await sessions.refresh(resources, alice.refresh)
        assert renewed is not None
        return renewed[1].refresh == alice.refresh

    await ends_at(time, sessions.GRACE.total_seconds(), is_the_same)


async def test_a_token_whose_successor_was_used(resources: Resources, alice: SignedIn, time: Time) -> None:
    time.pass_(minutes=1)
    renewed = await sessions.refresh(resources, alice.refresh)
    assert renewed is not None
    time.pass_(minutes=1)
    assert await principal_by_cookie(resources, renewed[1].access)
    await ends_at(time, sessions.GRACE.total_seconds(), lambda: sessions.refresh(resources, alice.refresh))


async def test_a_session_in_the_list_and_to_end(resources: Resources, alice: SignedIn, time: Time) -> None:
    async def listed() -> object:
        async with resources.unit_of_work() as session:
            return await sessions.list_sessions(session, alice.user)

    async def end() -> object:
        async with resources.unit_of_work() as session:
            await session.execute(update(Session).values(ended_at=None))
            return await sessions.end_others(session, Principal(alice.user, None))

    start = time.now
    await ends_at(time, resources.settings.session_seconds, listed)
    time.now = start
    other = await sign_in(resources, alice.user)
    time.now = start + timedelta(seconds=resources.settings.session_seconds) - LAST
    async with resources.unit_of_work() as session:
        assert await sessions.end_others(session, Principal(alice.user, other.session.id)) == 1
        await session.execute(update(Session).values(ended_at=None))
    time.pass_(microseconds=1)
    async with resources.unit_of_work() as session:
        assert await sessions.end_others(session, Principal(alice.user, other.session.id)) == 0


async def test_a_personal_token_to_use(resources: Resources, alice: SignedIn, time: Time) -> None:
    secret = await make_token(resources, alice.user, "read")
    await ends_at(time, 24 * 3600, lambda: principal_by_bearer(resources, secret))


async def test_a_personal_token_to_list_and_to_revoke(resources: Resources, alice: SignedIn, time: Time) -> None:
    await make_token(resources, alice.user, "read")
    async with resources.sessions() as session:
        token_id = (await session.scalars(select(ApiToken.id))).one()

    async def listed() -> object:
        async with resources.unit_of_work() as session:
            return await api_tokens.list_tokens(session, alice.user)

    async def revoke() -> object:
        async with resources.unit_of_work() as session:
            await api_tokens.revoke_token(session, alice.user, token_id)
            await session.execute(update(ApiToken).values(revoked_at=None))
        return True

    start = time.now
    await ends_at(time, 24 * 3600, listed)
    time.now = start
    await ends_at(time, 24 * 3600, revoke)


async def test_a_personal_token_that_takes_a_place(resources: Resources, alice: SignedIn, time: Time) -> None:
    for _ in range(MAX_TOKENS):
        await make_token(resources, alice.user, "read")

    async def is_full() -> object:
        later = time.now + timedelta(days=1)
        try:
            async with resources.unit_of_work() as session:
                await api_tokens.make_token(session, resources, alice.user, "one more", [Scope.READ], later)
        except TooManyTokens as error:
            return error.values == {"limit": MAX_TOKENS}
        return False

    await ends_at(time, 24 * 3600, is_full)


async def test_an_invitation(resources: Resources, time: Time) -> None:
    async with resources.unit_of_work() as session:
        session.add(Invitation(email="bob@example.org", expires_at=time.now + timedelta(hours=1)))

    async def invited() -> object:
        async with resources.unit_of_work() as session:
            return await find_invitation(session, "bob@example.org")

    await ends_at(time, 3600, invited)


@pytest.mark.parametrize("kind", ["session", "token"])
async def test_use_is_noted_again_after_a_minute(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time, kind: str
) -> None:
    secret = await make_token(resources, alice.user, "read")
    headers = alice.headers if kind == "session" else {"Authorization": f"Bearer {secret}"}
    column = Session.seen_at if kind == "session" else ApiToken.used_at
    start, noted = time.now, []
    for at in (timedelta(0), timedelta(minutes=1) - LAST, timedelta(minutes=1)):
        time.now = start + at
        await client.get("/api/user/me", headers=headers)
        async with resources.sessions() as session:
            noted.append(await session.scalar(select(column)))
    assert noted == [start, start, start + timedelta(minutes=1)]


async def test_the_last_use_is_nobodys_but_who_called(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time
) -> None:
    bob = await sign_in(resources, "bob")
    await make_token(resources, bob.user, "read")
    secret = await make_token(resources, alice.user, "read")
    start = time.now
    time.pass_(minutes=2)
    await client.get("/api/user/me", headers={"Authorization": f"Bearer {secret}"})
    async with resources.sessions() as session:
        used = {row.user_id: row.used_at for row in await session.scalars(select(ApiToken))}
        seen = {row.user_id: row.seen_at for row in await session.scalars(select(Session))}
    assert used == {alice.user.id: time.now, bob.user.id: None}
    assert set(seen.values()) == {start}
    await client.get("/api/user/me", headers=alice.headers)
    async with resources.sessions() as session:
        seen = {row.user_id: row.seen_at for row in await session.scalars(select(Session))}
    assert seen == {alice.user.id: time.now, bob.user.id: start}


async def test_the_cookies_live_as_long_as_what_they_hold(
    client: httpx.AsyncClient, resources: Resources, time: Time
) -> None:
    token = await make_link(resources, await make_user(resources))
    answer = await client.post("/api/auth/verify", json={"token": token})
    settings = resources.settings
    ages = {
        cookie.partition("=")[0]: int(cookie.partition("Max-Age=")[2].partition(";")[0])
        for cookie in answer.headers.get_list("set-cookie")
    }
    assert ages == {
        access_name(settings): settings.page_access_seconds,
        "spawner_refresh": settings.session_seconds,
        "spawner_browser": 365 * 24 * 3600,
    }


async def test_last_use_of_an_account_is_its_last_sign_in(resources: Resources, time: Time) -> None:
    user = await make_user(resources)
    token = await make_link(resources, user)
    time.pass_(minutes=1)
    await verify(resources, token, HERE, "en")
    async with resources.sessions() as session:
        assert (await session.get_one(User, user.id)).last_used == time.now
