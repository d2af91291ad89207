"""What sessions, personal tokens and invitations write, column by column."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select

from app.accounts import api_tokens, errors, sessions
from app.accounts.principal import Client, Principal, Scope, principal_by_cookie
from app.auth.invitations import acceptance, find_invitation, invite_address, list_invitations, revoke_invitation
from app.auth.magic_links import claim_link
from app.core.errors import NotFound
from app.models import (
    ApiToken,
    Invitation,
    LinkPurpose,
    LinkRequest,
    Session,
)
from app.resources import Resources
from tests.support.clocks import Time
from tests.support.factories import SignedIn, make_user, sign_in
from tests.support.queues import queued
from tests.support.rows import audited, row, rows

HERE = Client("203.0.113.9", "an agent")
ALICE = "alice@example.org"


@pytest.fixture(autouse=True)
def stopped(time: Time) -> Time:
    return time


async def test_a_session_that_is_opened(resources: Resources, time: Time) -> None:
    user = await make_user(resources)
    tokens, life = resources.tokens, timedelta(seconds=resources.settings.session_seconds)
    async with resources.unit_of_work() as session:
        session_id, pages = await sessions.open_session(session, resources, user, HERE)
    assert await row(resources, Session) == {
        "user_id": user.id,
        "cookie_hash": tokens.hash("session", pages.access),
        "refresh_hash": tokens.hash("refresh", pages.refresh),
        "spent_refresh_hash": None,
        "refreshed_at": time.now,
        "shown_at": None,
        "seen_at": time.now,
        "user_agent": "an agent",
        "address": "203.0.113.9",
        "created_at": time.now,
        "expires_at": time.now + life,
        "ended_at": None,
    }
    assert pages.expires_at == time.now + life
    named, family, secret = pages.refresh.split(".")
    assert (named, family) == (session_id.hex, tokens.derive("family", session_id.hex)[0])
    assert len(secret) == 43
    assert pages.access == tokens.derive("access", pages.refresh)[0]


async def test_a_session_that_is_renewed(resources: Resources, time: Time) -> None:
    alice = await sign_in(resources)
    await sign_in(resources, "bob")
    before = {one["user_id"]: one for one in await rows(resources, Session)}
    opened = time.now
    time.pass_(minutes=1)
    renewed = await sessions.refresh(resources, alice.refresh)
    assert renewed is not None
    caller, pages = renewed
    assert caller == Principal(
        caller.user, alice.session.id, seen_at=time.now, fresh=True, signed_in_at=alice.session.created_at
    )
    assert caller.user.id == alice.user.id
    assert pages.expires_at == opened + timedelta(seconds=resources.settings.session_seconds)
    tokens = resources.tokens
    after = {one["user_id"]: one for one in await rows(resources, Session)}
    assert after.pop(alice.user.id) == {
        **before.pop(alice.user.id),
        "cookie_hash": tokens.hash("session", pages.access),
        "refresh_hash": tokens.hash("refresh", pages.refresh),
        "spent_refresh_hash": tokens.hash("refresh", alice.refresh),
        "refreshed_at": time.now,
        "seen_at": time.now,
    }
    assert after == before
    assert pages.refresh.split(".")[:2] == alice.refresh.split(".")[:2]
    assert pages.access == tokens.derive("access", pages.refresh)[0]


async def test_a_refresh_token_that_came_back_ends_its_session_alone(resources: Resources, time: Time) -> None:
    alice, bob = await sign_in(resources), await sign_in(resources, "bob")
    time.pass_(minutes=1)
    renewed = await sessions.refresh(resources, alice.refresh)
    assert renewed is not None
    assert await principal_by_cookie(resources, renewed[1].access)
    assert {one["user_id"]: one["shown_at"] for one in await rows(resources, Session)}[alice.user.id] == time.now
    time.pass_(minutes=1)
    assert await sessions.refresh(resources, alice.refresh) is None
    ended = {one["user_id"]: one["ended_at"] for one in await rows(resources, Session)}
    assert ended == {alice.user.id: time.now, bob.user.id: None}
    told = ("refresh_reused", "session", str(alice.session.id), ALICE, "unauthorized", None)
    assert await audited(resources) == [told]
    assert await sessions.refresh(resources, alice.refresh) is None
    assert len(await audited(resources)) == 1


@pytest.mark.parametrize("how", ["end_session", "end_others", "logout"])
async def test_sessions_that_are_ended(resources: Resources, time: Time, how: str) -> None:
    alice, bob = await sign_in(resources), await sign_in(resources, "bob")
    other = await sign_in(resources, alice.user)
    ended = alice if how != "end_others" else other
    time.pass_(seconds=9)
    async with resources.unit_of_work() as session:
        caller = Principal(alice.user, alice.session.id)
        match how:
            case "end_session":
                await sessions.end_session(session, alice.user, alice.session.id)
            case "end_others":
                assert await sessions.end_others(session, caller) == 1
            case _:
                await sessions.logout(session, caller)
    async with resources.sessions() as session:
        found = {one.id: one.ended_at for one in await session.scalars(select(Session))}
    assert found == {
        one.session.id: time.now if one.session.id == ended.session.id else None for one in (alice, bob, other)
    }
    assert await audited(resources) == [("session_ended", "session", str(ended.session.id), ALICE, "ok", None)]
    async with resources.unit_of_work() as session:
        with pytest.raises(NotFound):
            await sessions.end_session(session, alice.user, bob.session.id)


async def test_sessions_come_last_seen_first(resources: Resources, time: Time) -> None:
    alice = await sign_in(resources)
    time.pass_(seconds=1)
    later = await sign_in(resources, alice.user)
    async with resources.sessions() as session:
        listed = [one.id for one in await sessions.list_sessions(session, alice.user)]
    assert listed == [later.session.id, alice.session.id]


async def make_api_token(resources: Resources, alice: SignedIn, name: str, days: float) -> tuple[ApiToken, str]:
    async with resources.unit_of_work() as session:
        scopes = [Scope.WORKSPACES, Scope.READ, Scope.READ]
        end = alice.session.created_at + timedelta(days=days)
        return await api_tokens.make_token(session, resources, alice.user, name, scopes, end)


async def test_a_personal_token_that_is_made_and_revoked(resources: Resources, time: Time) -> None:
    alice = await sign_in(resources)
    made, secret = await make_api_token(resources, alice, "backup", 30)
    assert await row(resources, ApiToken) == {
        "user_id": alice.user.id,
        "name": "backup",
        "token_hash": resources.tokens.hash("token", secret),
        "scopes": ["read", "workspaces"],
        "created_at": time.now,
        "expires_at": time.now + timedelta(days=30),
        "used_at": None,
        "revoked_at": None,
    }
    assert secret.startswith("spawner_")
    assert len(secret) == len("spawner_") + 43
    other, _ = await make_api_token(resources, alice, "other", 30)
    time.pass_(minutes=2)
    async with resources.unit_of_work() as session:
        await api_tokens.revoke_token(session, alice.user, made.id)
    revoked = {one["name"]: one["revoked_at"] for one in await rows(resources, ApiToken)}
    assert revoked == {"backup": time.now, "other": None}
    end = f"{made.expires_at:%Y-%m-%d}"
    assert await audited(resources) == [
        ("token_made", "token", str(made.id), ALICE, "ok", f"read, workspaces until {end}: backup"),
        ("token_made", "token", str(other.id), ALICE, "ok", f"read, workspaces until {end}: other"),
        ("token_revoked", "token", str(made.id), ALICE, "ok", None),
    ]
    async with resources.unit_of_work() as session:
        with pytest.raises(NotFound):
            await api_tokens.revoke_token(session, alice.user, made.id)


async def test_personal_tokens_come_newest_first_and_are_ones_own(resources: Resources, time: Time) -> None:
    alice, bob = await sign_in(resources), await sign_in(resources, "bob")
    for name in ("first", "second"):
        await make_api_token(resources, alice, name, 1)
        time.pass_(seconds=1)
    await make_api_token(resources, bob, "bobs", 1)
    async with resources.unit_of_work() as session:
        listed = await api_tokens.list_tokens(session, alice.user)
        assert [one.name for one in listed] == ["second", "first"]
        with pytest.raises(NotFound):
            await api_tokens.revoke_token(session, bob.user, listed[0].id)


@pytest.mark.parametrize(("life", "delivery"), [(7 * 24 * 3600, 12 * 3600), (3600, 3600)])
async def test_an_invitation(resources: Resources, time: Time, life: int, delivery: int) -> None:
    resources.settings.invitation_seconds = life
    root = await make_user(resources, "root", is_admin=True)
    async with resources.unit_of_work() as session:
        made = await invite_address(session, resources, root, "bob@example.org", "de")
    end = time.now + timedelta(seconds=life)
    assert await row(resources, Invitation) == {
        "email": "bob@example.org",
        "invited_by": root.id,
        "created_at": time.now,
        "expires_at": end,
        "accepted_at": None,
    }
    assert (made.email, made.inviter, made.created_at) == ("bob@example.org", root.email, time.now)
    assert (made.expires_at, made.accepted_at) == (end, None)
    wanted = await row(resources, LinkRequest)
    assert (wanted["email"], wanted["purpose"], wanted["locale"]) == ("bob@example.org", LinkPurpose.INVITE, "de")
    assert wanted["run_at"] == wanted["created_at"] == time.now
    assert wanted["expires_at"] == time.now + timedelta(seconds=delivery)
    async with resources.sessions() as session:
        request_id = await session.scalar(select(LinkRequest.id))
        found = await find_invitation(session, "bob@example.org")
        assert await find_invitation(session, "carol@example.org") is None
    assert found == made
    assert await queued(resources) == {f"send_link:{request_id}"}
    async with resources.unit_of_work() as session:
        delivered = await claim_link(session, resources, request_id)  # type: ignore[arg-type]  # it is there
    assert delivered is not None
    assert delivered.letter is not None
    assert delivered.letter.to == "bob@example.org"
    assert root.email in delivered.letter.text
    assert resources.settings.public_url in delivered.letter.text
    assert await audited(resources) == [("invitation_made", "invitation", "bob@example.org", root.email, "ok", None)]


async def test_an_invitation_that_is_renewed_used_and_revoked(resources: Resources, time: Time) -> None:
    root, other = await make_user(resources, "root"), await make_user(resources, "other")
    async with resources.unit_of_work() as session:
        first = await invite_address(session, resources, root, "bob@example.org", "en")
        await session.execute(acceptance("bob@example.org"))
    accepted = time.now
    assert (await row(resources, Invitation))["accepted_at"] == accepted
    time.pass_(minutes=1)
    async with resources.unit_of_work() as session:
        await session.execute(acceptance("bob@example.org"))
        assert await find_invitation(session, "bob@example.org") is None
    assert (await row(resources, Invitation))["accepted_at"] == accepted
    async with resources.unit_of_work() as session:
        second = await invite_address(session, resources, other, "bob@example.org", "en")
    found = await row(resources, Invitation)
    assert (found["invited_by"], found["created_at"], found["accepted_at"]) == (other.id, time.now, None)
    assert found["expires_at"] == time.now + timedelta(seconds=resources.settings.invitation_seconds)
    assert second.id == first.id
    async with resources.unit_of_work() as session:
        assert await list_invitations(session, limit=5, before=None) == [second]
        with pytest.raises(NotFound):
            await list_invitations(session, limit=5, before=uuid4())
        with pytest.raises(NotFound):
            await revoke_invitation(session, root, uuid4())
        await revoke_invitation(session, root, first.id)
    assert await rows(resources, Invitation) == []
    assert (await audited(resources))[-1] == (
        "invitation_revoked",
        "invitation",
        "bob@example.org",
        root.email,
        "ok",
        None,
    )


async def test_invitations_of_one_instant_come_in_pages_that_miss_and_repeat_none(resources: Resources) -> None:
    root = await make_user(resources, "root")
    async with resources.unit_of_work() as session:
        made = {
            (await invite_address(session, resources, root, f"{name}@example.org", "en")).id for name in ("a", "b", "c")
        }
    seen, before = [], None
    async with resources.sessions() as session:
        while page := await list_invitations(session, limit=1, before=before):
            before = page[0].id
            seen.append(before)
    assert len(seen) == 3
    assert set(seen) == made


async def test_a_session_that_has_ended_is_not_ended_again(resources: Resources, time: Time) -> None:
    alice = await sign_in(resources)
    start = time.now
    for _ in range(2):
        async with resources.unit_of_work() as session:
            await sessions._end_reused(session, alice.session, alice.user)
        time.pass_(seconds=1)
    assert (await row(resources, Session))["ended_at"] == start
    assert len(await audited(resources)) == 1


def test_who_has_no_session_to_renew_is_told_how_to_sign_in() -> None:
    assert errors.NotRefreshed().headers == {"WWW-Authenticate": "Bearer"}
