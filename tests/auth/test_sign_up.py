"""An account begins when its address is confirmed: before, nobody holds a name. Mail goes where it was asked for."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from app.accounts.users import UNCONFIRMED_LIFE
from app.auth.magic_links import make_link
from app.models import Bootstrap, Job, LinkPurpose, LinkRequest, Session, User, UserState, utcnow
from app.resources import Resources
from tests.conftest import TestWorker
from tests.support.emails import Inbox
from tests.support.factories import make_user, sign_in
from workers.loops.retention import delete_expired

DORA = "dora@example.org"


async def ask(client: httpx.AsyncClient, worker: TestWorker, *addresses: str, path: str = "signup") -> None:
    for address in addresses:
        assert (await client.post(f"/api/auth/{path}", json={"email": address})).status_code == 200
    await worker.drain()


async def verify(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/api/auth/verify", json={"token": token})


async def links_of(resources: Resources, address: str, count: int) -> list[str]:
    """Tokens of links to an address that has no account."""
    request = LinkRequest(email=address, purpose=LinkPurpose.SIGNUP, locale="en", expires_at=utcnow())
    async with resources.unit_of_work() as session:
        session.add(request)
        await session.flush()
        return [make_link(session, resources, None, request) for _ in range(count)]


async def count(resources: Resources, table: type[User] | type[Session] | type[Job]) -> int:
    async with resources.reads() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def test_who_asks_for_a_link_holds_no_name_before_they_confirm(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    await ask(client, worker, "dora@attacker.example", "dora@else.example", DORA)
    assert await count(resources, User) == 0
    real = await verify(client, inbox.token(DORA))
    assert (real.status_code, real.json()["user"]["slug"], real.json()["user"]["state"]) == (200, "dora", "verified")
    later = await verify(client, inbox.token("dora@else.example"))
    assert later.json()["user"]["slug"] == "dora2"


@pytest.mark.parametrize("way", ["verify", "verify-code", "query"])
async def test_every_way_to_confirm_makes_the_account(
    client: httpx.AsyncClient, worker: TestWorker, inbox: Inbox, way: str
) -> None:
    await ask(client, worker, DORA)
    token = inbox.token(DORA)
    seen = await client.post("/api/auth/link", json={"token": token})
    assert (seen.json()["recognised"], seen.json()["address"]) == (True, DORA)
    if way == "query":
        answer = await client.get(
            "/api/auth/verify-signup", params={"token": token}, headers={"Accept": "application/json"}
        )
    else:
        body = {"token": token} if way == "verify" else {"code": inbox.code(DORA)}
        answer = await client.post(f"/api/auth/{way}", json=body)
    assert (answer.status_code, answer.json()["user"]["email"]) == (200, DORA)
    assert answer.json()["user"]["is_admin"]
    assert (await verify(client, token)).json()["code"] == "invalid_link"


async def test_links_of_one_address_make_one_account_and_sign_in_once(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    tokens = await links_of(resources, DORA, 8)
    answers = await asyncio.gather(*(verify(client, token) for token in tokens * 2))
    assert sorted(answer.status_code for answer in answers) == [200, *[400] * 15]
    assert [await count(resources, table) for table in (User, Session, Job)] == [1, 1, 1]


async def test_of_many_who_confirm_at_once_one_is_admin_and_each_has_a_slug(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    tokens = [(await links_of(resources, f"dora@host{number}.example", 1))[0] for number in range(14)]
    answers = await asyncio.gather(*(verify(client, token) for token in tokens))
    users = [answer.json()["user"] for answer in answers]
    assert len({user["slug"] for user in users}) == 14
    assert {"dora", "dora2"} <= {user["slug"] for user in users}
    (admin,) = [user["id"] for user in users if user["is_admin"]]
    async with resources.reads() as session:
        assert str(await session.scalar(select(Bootstrap.user_id))) == admin


async def test_a_refusal_makes_no_account_and_leaves_the_link(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    await ask(client, worker, DORA)
    resources.settings.signup = "closed"
    assert (await verify(client, inbox.token(DORA))).json()["code"] == "invalid_link"
    assert await count(resources, User) == 0
    resources.settings.signup = "open"
    assert (await verify(client, inbox.token(DORA))).status_code == 200


async def test_a_link_from_before_the_account_signs_in_to_it_and_is_refused_when_it_is_blocked(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    (token,) = await links_of(resources, DORA, 1)
    made = await make_user(resources, "dora")
    async with resources.unit_of_work() as session:
        await session.execute(update(User).values(blocked_at=utcnow()))
    assert (await verify(client, token)).json()["code"] == "blocked"
    async with resources.unit_of_work() as session:
        await session.execute(update(User).values(blocked_at=None))
    assert (await verify(client, token)).json()["user"]["id"] == str(made.id)
    assert await count(resources, User) == 1


async def test_links_that_wait_end_with_a_deleted_account(client: httpx.AsyncClient, resources: Resources) -> None:
    root = await sign_in(resources, await make_user(resources, "root", is_admin=True))
    made = await make_user(resources, "dora")
    (token,) = await links_of(resources, DORA, 1)
    assert (await client.delete(f"/api/admin/users/{made.id}", headers=root.headers)).status_code in (200, 204)
    assert (await verify(client, token)).json()["code"] == "invalid_link"


async def test_accounts_that_nobody_confirmed_free_their_names_after_a_day(resources: Resources) -> None:
    """Code from before made them; what somebody made something of stays."""
    old = utcnow() - UNCONFIRMED_LIFE - timedelta(minutes=1)
    kinds: dict[str, dict[str, Any]] = {
        "gone": {},
        "young": {"created_at": utcnow()},
        "confirmed": {"state": UserState.VERIFIED},
        "admin": {"is_admin": True},
        "blocked": {"blocked_at": old},
        "limited": {"running_limit": 3},
    }
    async with resources.unit_of_work() as session:
        for name, changes in kinds.items():
            session.add(User(email=f"{name}@example.org", slug=name, **{"created_at": old, **changes}))
    await delete_expired(resources)
    async with resources.reads() as session:
        left = set(await session.scalars(select(User.slug)))
    assert left == {"young", "confirmed", "admin", "blocked", "limited"}


async def test_mail_goes_to_the_address_as_it_was_typed(
    client: httpx.AsyncClient, worker: TestWorker, inbox: Inbox
) -> None:
    await ask(client, worker, "weiß@example.org")
    assert inbox.to("weiss@example.org") == []
    token = inbox.token("weiß@example.org")
    assert (await verify(client, token)).json()["user"]["email"] == "weiß@example.org"


async def test_two_people_whose_names_differ_by_a_sharp_s_have_two_accounts(
    client: httpx.AsyncClient, worker: TestWorker, inbox: Inbox
) -> None:
    addresses = ("weiß@example.org", "weiss@example.org")
    await ask(client, worker, *addresses)
    users = [(await verify(client, inbox.token(address))).json()["user"] for address in addresses]
    assert [user["email"] for user in users] == list(addresses)
    assert len({user["id"] for user in users}) == 2


@pytest.mark.parametrize("spelling", ["DORA@Example.org", "Dora@EXAMPLE.ORG", "ⓓora@example.org", "dorá@example.org"])
async def test_another_spelling_is_mailed_to_the_accounts_own_mailbox_or_is_another_account(
    client: httpx.AsyncClient, worker: TestWorker, inbox: Inbox, spelling: str
) -> None:
    """Whoever owns a mailbox that merely folds to an account's address never gets a link to the account."""
    await ask(client, worker, "Dora@example.org")
    hers = (await verify(client, inbox.token("Dora@example.org"))).json()["user"]
    before = len(inbox.to("Dora@example.org"))
    await ask(client, worker, spelling)
    if spelling.startswith("dorá"):
        theirs = (await verify(client, inbox.token(spelling))).json()["user"]
        assert theirs["id"] != hers["id"]
    else:
        assert len(inbox.to("Dora@example.org")) == before + 1
        assert len(inbox.to("")) == before + 1
        assert (await verify(client, inbox.token("Dora@example.org"))).json()["user"]["id"] == hers["id"]


async def test_an_account_from_before_is_mailed_at_its_own_address(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    await make_user(resources, "dora")
    await ask(client, worker, "DORA@example.org", path="login")
    assert len(inbox.to(DORA)) == 1
