"""Invitations: who may sign up whatever the settings say."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from unittest.mock import ANY

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import delete, func, select, text, update

from app.models import AuditEntry, Invitation, LinkRequest, LinkRequestState, User, UserState, utcnow
from app.resources import Resources
from tests.conftest import TestWorker
from tests.support.driving import until
from tests.support.emails import Inbox, text_of
from tests.support.factories import SignedIn, make_user

BOB = "bob@example.org"
PATH = "/api/admin/invitations"


@pytest.fixture(params=["closed", "domains"])
async def policy(request: pytest.FixtureRequest, resources: Resources) -> str:
    """A policy that lets nobody of example.org sign up."""
    resources.settings.signup = request.param
    resources.settings.signup_domains = ["corp.example"]
    return str(request.param)


@pytest.fixture
async def guest(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The browser of whoever is invited."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as opened:
        yield opened


async def invite(client: httpx.AsyncClient, root: SignedIn, email: str = BOB, **headers: str) -> httpx.Response:
    return await client.post(PATH, json={"email": email}, headers={**root.headers, **headers})


async def try_to_sign_up(guest: httpx.AsyncClient, worker: TestWorker, inbox: Inbox) -> str | None:
    """Ask for a link; the token, if one came."""
    before = len(inbox.to(BOB))
    assert (await guest.post("/api/auth/signup", json={"email": BOB})).status_code == 200
    await worker.drain()
    return inbox.token(BOB) if len(inbox.to(BOB)) > before else None


async def verify(guest: httpx.AsyncClient, token: str | None) -> int:
    return (await guest.post("/api/auth/verify", json={"token": token})).status_code


async def actions(resources: Resources) -> list[tuple[Any, ...]]:
    columns = (AuditEntry.action, AuditEntry.actor, AuditEntry.target)
    async with resources.sessions() as session:
        return [tuple(row) for row in await session.execute(select(*columns).order_by(AuditEntry.id))]


async def test_an_invitation_lets_in_whom_the_policy_would_not(
    client: httpx.AsyncClient,
    guest: httpx.AsyncClient,
    resources: Resources,
    worker: TestWorker,
    inbox: Inbox,
    root: SignedIn,
    policy: str,
) -> None:
    assert await try_to_sign_up(guest, worker, inbox) is None
    made = await invite(client, root, "Bob@Example.org", **{"Accept-Language": "de"})
    assert made.status_code == 200
    assert (made.json()["email"], made.json()["inviter"]) == (BOB, "root@example.org")
    await worker.drain()
    # As the admin wrote it: letter case is the mail server's to judge.
    mail = inbox.to("Bob@example.org")[0]
    assert mail["Subject"] == "Einladung zu Spawner auf localhost:8080"
    assert "root@example.org lädt dich" in text_of(mail)
    assert "http://localhost:8080/sign-in" in text_of(mail)
    assert await verify(guest, await try_to_sign_up(guest, worker, inbox)) == 200
    (listed,) = (await client.get(PATH, headers=root.headers)).json()["invitations"]
    assert listed["accepted_at"] is not None
    async with resources.reads() as session:
        bob = await session.scalar(select(User.id).where(User.email == BOB))
    assert await actions(resources) == [
        ("invitation_made", "root@example.org", BOB),
        # The fixture's admin never was the first to confirm an address.
        ("user_promoted", "system", str(bob)),
        ("signed_in", BOB, str(bob)),
        ("workspace_launch_requested", "system", ANY),
    ]


async def test_an_invitation_lets_in_once(
    client: httpx.AsyncClient,
    guest: httpx.AsyncClient,
    resources: Resources,
    worker: TestWorker,
    inbox: Inbox,
    root: SignedIn,
    policy: str,
) -> None:
    await invite(client, root)
    assert await verify(guest, await try_to_sign_up(guest, worker, inbox)) == 200
    async with resources.unit_of_work() as session:
        await session.delete((await session.scalars(select(User).where(User.email == BOB))).one())
    assert await try_to_sign_up(guest, worker, inbox) is None


@pytest.mark.parametrize("end", ["revoke", "expire"])
async def test_an_invitation_that_is_over_lets_in_nobody_who_has_not_confirmed(
    client: httpx.AsyncClient,
    guest: httpx.AsyncClient,
    resources: Resources,
    worker: TestWorker,
    inbox: Inbox,
    root: SignedIn,
    policy: str,
    end: str,
) -> None:
    made = (await invite(client, root)).json()
    token = await try_to_sign_up(guest, worker, inbox)
    assert token is not None
    if end == "revoke":
        assert (await client.delete(f"{PATH}/{made['id']}", headers=root.headers)).status_code == 204
        assert (await actions(resources))[-1] == ("invitation_revoked", "root@example.org", BOB)
    async with resources.unit_of_work() as session:
        await session.execute(update(Invitation).values(expires_at=utcnow()))
    assert await verify(guest, token) == 400
    for path in ("signup", "login"):
        await guest.post(f"/api/auth/{path}", json={"email": BOB})
    await worker.drain()
    assert inbox.token(BOB) == token
    # Invited anew, the same account goes on.
    await invite(client, root)
    assert await verify(guest, token) == 200


async def test_a_link_that_is_used_while_the_invitation_is_being_revoked_makes_no_account(
    client: httpx.AsyncClient,
    guest: httpx.AsyncClient,
    root: SignedIn,
    worker: TestWorker,
    inbox: Inbox,
    resources: Resources,
    policy: str,
) -> None:
    await invite(client, root)
    await worker.drain()
    token = await try_to_sign_up(guest, worker, inbox)

    async def waits_for_the_row() -> bool:
        async with resources.reads() as session:
            return bool(await session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

    async with resources.unit_of_work() as session:
        await session.execute(delete(Invitation))
        verifying = asyncio.create_task(verify(guest, token))
        await until(waits_for_the_row)
    assert await verifying == 400
    async with resources.reads() as session:
        assert await session.scalar(select(func.count(User.id)).where(User.email == BOB)) == 0


async def test_a_revoked_invitation_is_not_mailed(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox, root: SignedIn
) -> None:
    made = (await invite(client, root)).json()
    await client.delete(f"{PATH}/{made['id']}", headers=root.headers)
    await worker.drain()
    assert inbox.to(BOB) == []
    async with resources.sessions() as session:
        assert list(await session.scalars(select(LinkRequest.state))) == [LinkRequestState.DROPPED]


async def test_inviting_again_renews_the_one_invitation_and_mails_again(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox, root: SignedIn
) -> None:
    first = (await invite(client, root)).json()
    async with resources.unit_of_work() as session:
        await session.execute(update(Invitation).values(expires_at=utcnow() - timedelta(days=1)))
    second = (await invite(client, root)).json()
    assert second["id"] == first["id"]
    assert second["expires_at"] > first["expires_at"]
    await worker.drain()
    assert len(inbox.to(BOB)) == 2
    async with resources.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Invitation)) == 1


async def test_who_has_an_account_is_not_invited(
    client: httpx.AsyncClient, resources: Resources, root: SignedIn
) -> None:
    await make_user(resources, "bob", state=UserState.REGISTERED)
    assert (await invite(client, root)).status_code == 200
    await make_user(resources, "carol")
    answer = await invite(client, root, "carol@example.org")
    assert (answer.status_code, answer.json()["code"]) == (409, "has_account")


async def test_invitations_come_in_pages_newest_first(client: httpx.AsyncClient, root: SignedIn) -> None:
    for name in ("a", "b", "c"):
        await invite(client, root, f"{name}@example.org")
    first = (await client.get(PATH, params={"limit": 2}, headers=root.headers)).json()
    rest = await client.get(PATH, params={"limit": 2, "before": first["next"]}, headers=root.headers)
    seen = [one["email"][0] for page in (first, rest.json()) for one in page["invitations"]]
    assert (seen, rest.json()["next"]) == (["c", "b", "a"], None)
