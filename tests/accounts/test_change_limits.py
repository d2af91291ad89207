"""How many changes an account may ask for."""

import asyncio
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import func, select, update

from app.models import AuditEntry, IdempotencyKey, Job, User, Volume, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from tests.support.browsers import make_workspace
from tests.support.clocks import Time
from tests.support.factories import SignedIn, make_link, make_user, sign_in

LAUNCH, STOP = "/api/container/launch/hello", "/api/container/hello/stop"


@pytest.fixture
async def alice(resources: Resources, time: Time) -> SignedIn:
    resources.settings.user_changes_per_hour = 6
    return await sign_in(resources)


async def changes_left(resources: Resources, who: SignedIn) -> float:
    """How many changes the account may ask for now."""
    async with resources.reads() as session:
        until = await session.scalar(select(User.changes_until).where(User.id == who.user.id))
    used = max((until or utcnow()) - utcnow(), timedelta(0)) / timedelta(hours=1)
    return round((1 - used) * resources.settings.user_changes_per_hour, 3)


async def test_a_loop_of_launches_and_stops_ends_and_goes_on_later(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time
) -> None:
    answers = [await client.post((LAUNCH, STOP)[number % 2], headers=alice.headers) for number in range(8)]
    assert [answer.status_code for answer in answers] == [202] * 6 + [429] * 2
    assert answers[6].json()["code"] == "too_many_changes"
    # One more each ten minutes.
    assert int(answers[6].headers["Retry-After"]) == 600
    bob = await sign_in(resources, "bob")
    assert (await client.post(LAUNCH, headers=bob.headers)).status_code == 202
    time.pass_(seconds=599)
    assert (await client.post(LAUNCH, headers=alice.headers)).headers["Retry-After"] == "1"
    time.pass_(seconds=1)
    assert (await client.post(LAUNCH, headers=alice.headers)).status_code == 202
    assert (await client.post(STOP, headers=alice.headers)).status_code == 429


async def test_requests_at_once_do_not_pass_the_limit(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    paths = [f"/api/container/{kind}" for kind in ("hello/stop", "jupyter/stop", "launch/hello", "launch/jupyter")]
    await client.post(LAUNCH, headers=alice.headers)
    answers = await asyncio.gather(*(client.post(path, headers=alice.headers) for path in paths * 8))
    async with resources.reads() as session:
        made = await session.scalar(select(func.count()).select_from(Job)) or 0
    assert 1 < made <= 6
    assert {answer.status_code for answer in answers} <= {200, 202, 404, 429}


async def test_what_comes_to_nothing_is_not_counted(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    for _ in range(20):
        assert (await client.post(LAUNCH, headers=alice.headers)).status_code == 202
    assert await changes_left(resources, alice) == 5
    key = {**alice.headers, "Idempotency-Key": "once"}
    for _ in range(20):
        assert (await client.post("/api/container/hello/restart", headers=key)).status_code == 202
    assert await changes_left(resources, alice) == 4
    resources.settings.user_running_limit = 1
    for _ in range(20):
        assert (await client.post("/api/container/launch/jupyter", headers=alice.headers)).status_code == 409
    assert await changes_left(resources, alice) == 4


async def test_deleting_what_is_gone_already_leaves_no_trail(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.NOT_CREATED)
    async with resources.unit_of_work() as session:
        workspace_id = await session.scalar(select(Workspace.id))
        session.add(Volume(name="data", user_id=alice.user.id, workspace_id=workspace_id, template="hello"))
    for _ in range(4):
        answer = await client.delete("/api/container/hello?volume=delete", headers=alice.headers)
        assert answer.status_code == 200
    async with resources.reads() as session:
        details = (await session.scalars(select(AuditEntry.detail))).all()
    assert details == ["hello, files: delete"]
    assert await changes_left(resources, alice) == 5


async def test_requests_with_ever_new_keys_end(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    answers = [
        (await client.post(LAUNCH, headers={**alice.headers, "Idempotency-Key": f"key{number}"})).status_code
        for number in range(8)
    ]
    assert answers == [200] * 6 + [429] * 2
    async with resources.reads() as session:
        assert await session.scalar(select(func.count()).select_from(IdempotencyKey)) == 6


async def test_what_an_admin_asks_for_is_not_the_owners(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    root = await sign_in(resources, await make_user(resources, "root", is_admin=True))
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    async with resources.reads() as session:
        workspace_id = await session.scalar(select(Workspace.id))
    for kind in ("stop", "restart") * 5:
        answer = await client.post(f"/api/admin/workspaces/{workspace_id}/{kind}", headers=root.headers)
        assert answer.status_code == 202, answer.text
    assert await changes_left(resources, alice) == 6


async def test_signing_in_is_not_refused_for_it(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    async with resources.unit_of_work() as session:
        await session.execute(update(User).values(changes_until=utcnow() + timedelta(hours=1)))
    token = await make_link(resources, alice.user)
    assert (await client.post("/api/auth/verify", json={"token": token})).json()["job"] is not None
    assert (await client.post(STOP, headers=alice.headers)).status_code == 429


async def test_shares_links_and_tokens_count_too(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    made = []
    for _ in range(3):
        share = await client.post(
            "/api/container/hello/shares", headers=alice.headers, json={"email": "bob@example.org"}
        )
        token = await client.post(
            "/api/auth/tokens", headers=alice.headers, json={"name": "x", "scopes": ["read"], "days": 1}
        )
        made += [share.status_code, token.status_code]
    assert made == [201] * 6
    refused = [
        await client.post("/api/container/hello/shares", headers=alice.headers, json={"email": "eve@example.org"}),
        await client.post("/api/container/hello/share-links", headers=alice.headers, json={"hours": 1}),
        await client.post("/api/shares/accept", headers=alice.headers, json={"token": "x"}),
    ]
    assert [answer.json()["code"] for answer in refused] == ["too_many_changes"] * 3
