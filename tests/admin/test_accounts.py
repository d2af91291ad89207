"""What admins do to accounts holds at once, and the last of them stays."""

import asyncio
from itertools import permutations
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from app.accounts.errors import LastAdmin
from app.accounts.status import StatusChange, change_status
from app.admin.account_deletion import delete_user
from app.models import AuditEntry, Session, User, UserState, utcnow
from app.resources import Resources
from tests.conftest import TestWorker
from tests.support.factories import SignedIn, make_user, sign_in


async def change(client: httpx.AsyncClient, root: SignedIn, who: SignedIn, act: str) -> httpx.Response:
    return await client.post(f"/api/admin/users/{who.user.id}/{act}", headers=root.headers)


async def status(client: httpx.AsyncClient, who: SignedIn, path: str = "/api/user/me") -> int:
    return (await client.get(path, headers=who.headers)).status_code


async def test_blocking_ends_every_session_and_stops_nothing(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, root: SignedIn, alice: SignedIn
) -> None:
    other = await sign_in(resources, alice.user)
    await client.post("/api/container/launch/hello", headers=alice.headers)
    await worker.drain()
    assert (await change(client, root, alice, "block")).json()["blocked_at"] is not None
    assert [await status(client, who) for who in (alice, other, root)] == [401, 401, 200]
    async with resources.reads() as session:
        ended = await session.scalars(select(Session.ended_at).where(Session.user_id == alice.user.id))
        assert all(ended)
    page = (await client.get("/api/admin/workspaces", params={"user": str(alice.user.id)}, headers=root.headers)).json()
    assert [(one["type"], one["status"]) for one in page["workspaces"]] == [("hello", "running")]
    assert (await change(client, root, alice, "unblock")).json()["blocked_at"] is None
    # What was ended stays ended.
    assert await status(client, alice) == 401


async def test_an_admin_made_or_unmade_is_one_at_the_next_request(
    client: httpx.AsyncClient, root: SignedIn, alice: SignedIn
) -> None:
    seen = []
    for act in ("promote", "promote", "demote", "demote"):
        assert (await change(client, root, alice, act)).json()["is_admin"] is (act == "promote")
        seen.append(await status(client, alice, "/api/admin/overview"))
    assert seen == [200, 200, 403, 403]


async def test_sessions_are_listed_and_ended_one_by_one_or_all(
    client: httpx.AsyncClient, resources: Resources, root: SignedIn, alice: SignedIn
) -> None:
    others = [await sign_in(resources, alice.user) for _ in range(3)]
    path = f"/api/admin/users/{alice.user.id}/sessions"
    listed, before = [], None
    for _ in range(3):
        page = (await client.get(path, params={"limit": 2, **(before or {})}, headers=root.headers)).json()
        listed += [one["id"] for one in page["sessions"]]
        before = {"before": page["next"]}
        if page["next"] is None:
            break
    assert sorted(listed) == sorted(str(one.session.id) for one in (alice, *others))
    one = f"{path}/{others[0].session.id}"
    assert [(await client.delete(one, headers=root.headers)).status_code for _ in range(2)] == [204, 404]
    assert (await client.delete(f"{path}/{root.session.id}", headers=root.headers)).status_code == 404
    assert [await status(client, who) for who in (alice, others[0], others[1], root)] == [200, 401, 200, 200]
    assert (await client.delete(path, headers=root.headers)).status_code == 204
    assert [await status(client, who) for who in (alice, others[1], others[2], root)] == [401, 401, 401, 200]
    assert (await client.get(path, headers=root.headers)).json() == {"sessions": [], "next": None}


ENDINGS = ("block", "demote", "delete")


async def end(resources: Resources, who: User, how: str, by: User) -> None:
    async with resources.unit_of_work() as session:
        if how == "delete":
            await delete_user(session, who.id, actor=by)
        else:
            await change_status(session, who.id, StatusChange(how), actor=by)


async def admins(resources: Resources) -> int:
    async with resources.reads() as session:
        return await session.scalar(select(func.count()).where(User.is_admin, User.blocked_at.is_(None))) or 0


@pytest.mark.parametrize("how", ENDINGS)
async def test_the_last_admin_who_could_act_stays(resources: Resources, root: SignedIn, how: str) -> None:
    blocked = await make_user(resources, "blocked", is_admin=True)
    await make_user(resources, "never", is_admin=True, state=UserState.REGISTERED)
    async with resources.unit_of_work() as session:
        await session.execute(update(User).where(User.id == blocked.id).values(blocked_at=utcnow()))
    with pytest.raises(LastAdmin):
        await end(resources, root.user, how, root.user)
    await end(resources, blocked, how, root.user)


@pytest.mark.parametrize(("first", "second"), [*permutations(ENDINGS, 2), *((how, how) for how in ENDINGS)])
async def test_of_two_admins_who_end_each_other_one_stays(resources: Resources, first: str, second: str) -> None:
    one, other = [await make_user(resources, slug, is_admin=True) for slug in ("one", "other")]
    outcomes = await asyncio.gather(
        end(resources, other, first, one), end(resources, one, second, other), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes if outcome] == [LastAdmin]
    assert await admins(resources) == 1


async def test_of_ten_admins_who_all_end_each_other_one_stays(resources: Resources) -> None:
    all_of_them = [await make_user(resources, f"u{number}", is_admin=True) for number in range(10)]
    ends = [end(resources, who, ENDINGS[number % 3], all_of_them[number - 1]) for number, who in enumerate(all_of_them)]
    outcomes = await asyncio.gather(*ends, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome] == [LastAdmin]
    assert await admins(resources) == 1


async def test_an_owner_sees_what_was_done_to_theirs_and_not_from_where(
    client: httpx.AsyncClient, resources: Resources, root: SignedIn, alice: SignedIn
) -> None:
    bob = await sign_in(resources, "bob")
    for who in (alice, bob):
        await client.post("/api/container/launch/hello", headers=who.headers)
    page = (await client.get("/api/admin/workspaces", params={"user": str(alice.user.id)}, headers=root.headers)).json()
    (workspace,) = page["workspaces"]
    await client.post(f"/api/admin/workspaces/{workspace['id']}/stop", headers=root.headers)
    await client.put(f"/api/admin/users/{alice.user.id}/limits", json={"running_limit": 1}, headers=root.headers)
    seen: list[dict[str, Any]] = []
    before: dict[str, int] = {}
    while True:
        page = (await client.get("/api/user/activity", params={"limit": 2, **before}, headers=alice.headers)).json()
        seen += page["activity"]
        if page["next"] is None:
            break
        before = {"before": page["next"]}
    assert [(one["actor"], one["action"], one["address"]) for one in seen] == [
        ("root@example.org", "user_limited", None),
        ("root@example.org", "workspace_stop_requested", None),
        ("alice@example.org", "workspace_launch_requested", "127.0.0.1"),
    ]
    assert [one["mine"] for one in seen] == [False, False, True]
    assert "request_id" not in seen[0]
    async with resources.reads() as session:
        assert await session.scalar(select(func.count()).select_from(AuditEntry)) == 4
