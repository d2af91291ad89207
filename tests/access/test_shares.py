"""Sharing one workspace: who may enter, who may not any more, what is told, and what is noted."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import event, func, select, update

from app.access.shares import purge
from app.accounts.principal import Principal
from app.gateway.origin_handoff import enter_url
from app.models import AuditEntry, Job, Share, ShareLink, User, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from tests.support.browsers import make_workspace
from tests.support.factories import SignedIn, make_user, sign_in

SHARES, LINKS = "/api/container/hello/shares", "/api/container/hello/share-links"
ROUTE = "alice-hello"


@pytest.fixture
async def alice(resources: Resources) -> SignedIn:
    """The owner of a workspace that runs."""
    alice = await sign_in(resources, "alice")
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    return alice


@pytest.fixture
async def bob(resources: Resources) -> SignedIn:
    """Somebody else."""
    return await sign_in(resources, "bob")


async def enters(resources: Resources, who: SignedIn) -> bool:
    """Whether the person may go on to the workspace."""
    async with resources.unit_of_work() as session:
        url = await enter_url(session, resources, Principal(who.user, who.session.id), ROUTE, "/", None)
        return url is not None


async def share(client: httpx.AsyncClient, alice: SignedIn, email: str = "bob@example.org") -> dict[str, Any]:
    answer = await client.post(SHARES, headers=alice.headers, json={"email": email})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def link(client: httpx.AsyncClient, alice: SignedIn) -> tuple[str, str]:
    """A link's id and token."""
    body = (await client.post(LINKS, headers=alice.headers, json={"hours": 1})).json()
    return body["id"], body["url"].partition("#token=")[2]


async def accept(client: httpx.AsyncClient, who: SignedIn, token: str) -> httpx.Response:
    return await client.post("/api/shares/accept", headers=who.headers, json={"token": token})


async def noted(resources: Resources) -> list[tuple[str, str, str | None]]:
    async with resources.reads() as session:
        rows = await session.execute(
            select(AuditEntry.action, AuditEntry.actor, AuditEntry.detail).order_by(AuditEntry.id)
        )
        return [(action, actor, detail) for action, actor, detail in rows]


async def test_a_shared_address_may_enter_until_it_is_revoked(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, bob: SignedIn
) -> None:
    carol = await sign_in(resources, "carol")
    assert not await enters(resources, bob)
    made = await share(client, alice, "BOB@Example.org")
    assert (made["email"], made["how"], made["expires_at"]) == ("bob@example.org", "address", None)
    assert (await share(client, alice))["id"] == made["id"]
    assert [await enters(resources, who) for who in (alice, bob, carol)] == [True, True, False]
    (seen,) = (await client.get("/api/user/shares", headers=bob.headers)).json()["shares"]
    assert (seen["owner"], seen["type"], seen["service_url"]) == (
        "alice@example.org", "hello", "http://alice-hello.localhost:8080/",
    )  # fmt: skip
    for who, status in ((bob, 404), (carol, 404), (alice, 204), (alice, 404)):
        assert (await client.delete(f"{SHARES}/{made['id']}", headers=who.headers)).status_code == status
    assert not await enters(resources, bob)
    assert (await client.get("/api/user/shares", headers=bob.headers)).json()["shares"] == []
    assert await noted(resources) == [
        ("share_made", "alice@example.org", "hello: bob@example.org"),
        ("share_made", "alice@example.org", "hello: bob@example.org"),
        ("share_revoked", "alice@example.org", "hello: bob@example.org"),
    ]


async def test_sharing_does_not_tell_whether_an_address_has_an_account(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, bob: SignedIn
) -> None:
    blocked = await make_user(resources, "eve")
    async with resources.unit_of_work() as session:
        await session.execute(update(User).where(User.id == blocked.id).values(blocked_at=utcnow()))
    answers, statements = [], []

    def count(*arguments: Any) -> None:
        statements.append(arguments[2])

    event.listen(resources.engine.sync_engine, "before_cursor_execute", count)
    for email in ("bob@example.org", "nobody@example.org", "eve@example.org"):
        statements.clear()
        body = await share(client, alice, email)
        for varies in ("id", "email", "created_at"):
            del body[varies]
        answers.append((body, list(statements)))
    event.remove(resources.engine.sync_engine, "before_cursor_execute", count)
    assert answers[0] == answers[1] == answers[2]
    listed = (await client.get(SHARES, headers=alice.headers)).json()["shares"]
    assert len({tuple(sorted(set(entry) - {"id"})) for entry in listed}) == 1
    # Whoever comes later finds it.
    assert await enters(resources, await sign_in(resources, "nobody"))


async def test_a_link_lets_in_until_it_expires(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, bob: SignedIn
) -> None:
    _, token = await link(client, alice)
    accepted = await accept(client, bob, token)
    assert accepted.status_code == 200
    assert await enters(resources, bob)
    assert (await accept(client, bob, token)).json()["id"] == accepted.json()["id"]
    assert (await accept(client, alice, token)).json()["id"] is None
    (shown,) = (await client.get(LINKS, headers=alice.headers)).json()["links"]
    assert (shown["accepted"], "url" in shown) == (1, False)
    (entry,) = (await client.get(SHARES, headers=alice.headers)).json()["shares"]
    assert (entry["email"], entry["how"], entry["link_id"]) == ("bob@example.org", "link", shown["id"])
    async with resources.unit_of_work() as session:
        for table in (Share, ShareLink):
            await session.execute(update(table).values(expires_at=utcnow()))
    assert not await enters(resources, bob)
    assert (await accept(client, bob, token)).json()["code"] == "invalid_share_link"
    assert (await client.get(LINKS, headers=alice.headers)).json()["links"] == []


async def test_revoking_a_link_ends_what_it_let_in_and_nothing_else(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, bob: SignedIn
) -> None:
    carol = await sign_in(resources, "carol")
    link_id, token = await link(client, alice)
    for who in (bob, carol):
        await accept(client, who, token)
    await share(client, alice, "carol@example.org")
    assert (await client.delete(f"{LINKS}/{link_id}", headers=bob.headers)).status_code == 404
    assert (await client.delete(f"{LINKS}/{link_id}", headers=alice.headers)).status_code == 204
    assert [await enters(resources, who) for who in (bob, carol)] == [False, True]
    assert (await accept(client, bob, token)).json()["code"] == "invalid_share_link"
    actions = [(action, detail) for action, _, detail in await noted(resources)]
    assert ("share_link_made", f"hello: {link_id}") in actions
    assert ("share_accepted", f"hello: {link_id}") in actions
    assert ("share_link_revoked", f"hello: {link_id}") in actions
    async with resources.reads() as session:
        stored = (await session.scalars(select(ShareLink.token_hash))).one()
    assert token.encode() not in stored


async def test_a_link_that_is_revoked_while_many_accept_lets_nobody_stay(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    people = [await sign_in(resources, f"p{number}") for number in range(12)]
    link_id, token = await link(client, alice)
    await asyncio.gather(
        *(accept(client, who, token) for who in people[:6]),
        client.delete(f"{LINKS}/{link_id}", headers=alice.headers),
        *(accept(client, who, token) for who in people[6:]),
    )
    assert not any([await enters(resources, who) for who in people])


async def test_many_who_accept_at_once_stay_within_the_limit(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    people = [await sign_in(resources, f"p{number}") for number in range(10)]
    for number in range(45):
        async with resources.unit_of_work() as session:
            session.add(Share(workspace_id=await workspace_id(resources), email=f"u{number}@example.org"))
    _, token = await link(client, alice)
    answers = await asyncio.gather(*(accept(client, who, token) for who in people))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [409] * 5


async def workspace_id(resources: Resources) -> Any:
    async with resources.reads() as session:
        return await session.scalar(select(Workspace.id))


async def test_who_is_let_in_can_neither_change_nor_share_on_nor_read_the_log(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, bob: SignedIn
) -> None:
    await share(client, alice)
    path = "/api/container/hello"
    for method, where in (
        ("POST", "/stop"),
        ("DELETE", ""),
        ("POST", "/shares"),
        ("GET", "/logs"),
        ("POST", "/extend"),
    ):
        body = {"email": "eve@example.org", "hours": 1} if "share" in where else None
        answer = await client.request(method, path + where, headers=bob.headers, json=body)
        assert answer.status_code == 404, where
    assert (await client.get(SHARES, headers=bob.headers)).json()["shares"] == []
    async with resources.reads() as session:
        assert await session.scalar(select(func.count()).select_from(Job)) == 0


async def test_leaving_ends_it_and_only_ones_own(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, bob: SignedIn
) -> None:
    made = await share(client, alice)
    for who, status in ((alice, 404), (bob, 204), (bob, 404)):
        assert (await client.delete(f"/api/user/shares/{made['id']}", headers=who.headers)).status_code == status
    assert not await enters(resources, bob)


async def test_deleting_the_workspace_ends_every_share_and_link(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, bob: SignedIn
) -> None:
    await share(client, alice)
    _, token = await link(client, alice)
    assert (await client.delete("/api/container/hello", headers=alice.headers)).status_code == 202
    assert not await enters(resources, bob)
    assert (await accept(client, bob, token)).json()["code"] == "invalid_share_link"


async def test_a_blocked_owners_shares_rest(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, bob: SignedIn
) -> None:
    await share(client, alice)
    _, token = await link(client, alice)
    async with resources.unit_of_work() as session:
        await session.execute(update(User).where(User.id == alice.user.id).values(blocked_at=utcnow()))
    assert not await enters(resources, bob)
    assert (await accept(client, bob, token)).json()["code"] == "invalid_share_link"


async def test_an_admin_enters_with_a_reason_that_the_owner_reads(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, bob: SignedIn, root: SignedIn
) -> None:
    path = f"/api/admin/workspaces/{await workspace_id(resources)}/access"
    reason = {"reason": "  Ticket 4711: does not save.  "}
    assert not await enters(resources, root)
    assert (await client.post(path, headers=bob.headers, json=reason)).status_code == 403
    for poor in ("", "because", " " * 12, "x" * 301):
        assert (await client.post(path, headers=root.headers, json={"reason": poor})).status_code == 400
    assert not await enters(resources, root)
    assert (await client.post(path, headers=root.headers, json=reason)).status_code == 201
    assert await enters(resources, root)
    assert await noted(resources) == [
        ("request_refused", "bob@example.org", None),
        ("access_taken", "root@example.org", "Ticket 4711: does not save."),
    ]
    (entry,) = (await client.get(SHARES, headers=alice.headers)).json()["shares"]
    assert (entry["how"], entry["email"], entry["reason"]) == (
        "admin",
        "root@example.org",
        "Ticket 4711: does not save.",
    )
    assert (await client.delete(f"{SHARES}/{entry['id']}", headers=alice.headers)).status_code == 404
    async with resources.unit_of_work() as session:
        await session.execute(update(Share).values(expires_at=utcnow()))
    assert not await enters(resources, root)
    (entry,) = (await client.get(SHARES, headers=alice.headers)).json()["shares"]
    assert not entry["live"]


async def test_an_admins_access_ends_with_being_admin(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, root: SignedIn
) -> None:
    path = f"/api/admin/workspaces/{await workspace_id(resources)}/access"
    await client.post(path, headers=root.headers, json={"reason": "The owner asked for help."})
    assert await enters(resources, root)
    async with resources.unit_of_work() as session:
        await session.execute(update(User).where(User.id == root.user.id).values(is_admin=False))
    assert not await enters(resources, root)


async def test_where_workspaces_share_an_origin_nobody_is_let_in_and_what_was_shared_rests(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, bob: SignedIn, root: SignedIn
) -> None:
    apart = resources.settings.workspace_url
    made = await share(client, alice)
    _, token = await link(client, alice)
    access = f"/api/admin/workspaces/{await workspace_id(resources)}/access"
    await client.post(access, headers=root.headers, json={"reason": "The owner asked for help."})
    resources.settings.workspace_url = "http://127.0.0.1:8080/{route}"
    assert [await enters(resources, who) for who in (alice, bob, root)] == [True, False, False]
    assert (await client.get("/api/user/shares", headers=bob.headers)).json()["shares"] == []
    carol, reason = {"email": "carol@example.org"}, {"reason": "The owner asked for help."}
    refused = [
        await client.post(SHARES, headers=alice.headers, json=carol),
        await client.post(LINKS, headers=alice.headers, json={"hours": 1}),
        await accept(client, bob, token),
        await client.post(access, headers=root.headers, json=reason),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(409, "shared_origin")] * 4
    # What there is can be ended there; what is left comes back where each workspace has an origin of its own.
    resources.settings.workspace_url = apart
    assert [await enters(resources, who) for who in (bob, root)] == [True, True]
    resources.settings.workspace_url = "http://127.0.0.1:8080/{route}"
    assert (await client.delete(f"{SHARES}/{made['id']}", headers=alice.headers)).status_code == 204
    resources.settings.workspace_url = apart
    assert not await enters(resources, bob)


async def test_what_was_over_long_ago_is_swept_away(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    gone, kept = await share(client, alice), await share(client, alice, "carol@example.org")
    async with resources.unit_of_work() as session:
        long_ago = utcnow() - timedelta(days=31)
        await session.execute(update(Share).where(Share.email == gone["email"]).values(revoked_at=long_ago))
    async with resources.unit_of_work() as session:
        await purge(session)
        assert [str(found) for found in await session.scalars(select(Share.id))] == [kept["id"]]
