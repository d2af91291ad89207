"""What admins see and set, through the API."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from app.models import Job, JobKind, JobState, LinkPurpose, LinkRequest, LinkRequestState, SeatState, User, utcnow
from app.resources import Resources
from app.workspaces import service
from app.workspaces.container_spec import seat_name
from tests.conftest import TestWorker
from tests.support.driving import admit_waiting
from tests.support.factories import SignedIn, make_user, sign_in
from tests.support.fakes import FakeRuntime
from tests.support.seats import fill, read_seats, want
from workers.loops.reconcile import reconcile_engine


@pytest.fixture
def get(client: httpx.AsyncClient, root: SignedIn) -> Any:
    async def ask(path: str, **params: str | int) -> Any:
        answer = await client.get(f"/api/admin/{path}", params=params, headers=root.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


async def test_accounts_come_in_pages_that_miss_and_repeat_nobody(
    resources: Resources, root: SignedIn, get: Any
) -> None:
    slugs = [f"user{number}" for number in range(7)]
    for slug in slugs:
        await make_user(resources, slug)
    async with resources.unit_of_work() as session:
        # At the same moment: the id decides.
        await session.execute(update(User).where(User.slug.in_(slugs[:4])).values(created_at=utcnow()))
    seen: list[str] = []
    page = await get("users", limit=3)
    while True:
        seen += [user["slug"] for user in page["users"]]
        if page["next"] is None:
            break
        page = await get("users", limit=3, before=page["next"])
    assert sorted(seen) == sorted([*slugs, "root"])


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("ALI", {"alice", "alina"}),
        ("alice@example.org", {"alice"}),
        ("example", {"alice", "alina", "bob", "root"}),
        ("%", set()),
        ("_", set()),
        ("al\0i", {"alice", "alina"}),
        ("", {"alice", "alina", "bob", "root"}),
    ],
)
async def test_accounts_are_found_by_parts_of_address_or_slug(
    resources: Resources, root: SignedIn, get: Any, search: str, found: set[str]
) -> None:
    for slug in ("alice", "alina", "bob"):
        await make_user(resources, slug)
    assert {user["slug"] for user in (await get("users", search=search))["users"]} == found


async def test_a_limit_of_a_users_own_holds_at_the_next_launch(
    client: httpx.AsyncClient, resources: Resources, root: SignedIn
) -> None:
    alice = await sign_in(resources)
    path = f"/api/admin/users/{alice.user.id}/limits"
    answer = await client.put(path, json={"running_limit": 1}, headers=root.headers)
    assert (answer.status_code, answer.json()["running_limit"], answer.json()["running"]) == (200, 1, 0)
    await client.post("/api/container/launch/hello", headers=alice.headers)
    refused = await client.post("/api/container/launch/jupyter", headers=alice.headers)
    assert refused.json()["code"] == "quota_user_running"
    assert "1" in refused.json()["detail"]
    await admit_waiting(resources)
    answer = await client.put(path, json={"running_limit": None}, headers=root.headers)
    assert (answer.json()["running_limit"], answer.json()["running"]) == (None, 1)
    allowed = await client.post("/api/container/launch/jupyter", headers=alice.headers)
    assert allowed.status_code == 202


async def test_a_forgotten_limit_is_no_limit_lifted(
    client: httpx.AsyncClient, resources: Resources, root: SignedIn
) -> None:
    alice = await make_user(resources)
    answer = await client.put(f"/api/admin/users/{alice.id}/limits", json={}, headers=root.headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "running_limit")


async def test_mails_show_what_became_of_them_and_never_a_token(resources: Resources, root: SignedIn, get: Any) -> None:
    now = utcnow()
    async with resources.unit_of_work() as session:
        for number, state in enumerate(LinkRequestState):
            session.add(
                LinkRequest(
                    email=f"{state}@example.org",
                    purpose=LinkPurpose.LOGIN,
                    locale="en",
                    state=state,
                    created_at=now - timedelta(seconds=number),
                    expires_at=now,
                )
            )
    page = await get("mails", limit=3)
    assert [mail["state"] for mail in page["mails"]] == ["queued", "sent", "dropped"]
    assert set(page["mails"][0]) == {
        "id", "address", "purpose", "state", "attempts", "created_at", "run_at", "expires_at", "finished_at",
    }  # fmt: skip
    rest = await get("mails", limit=3, before=page["next"])
    assert ([mail["address"] for mail in rest["mails"]], rest["next"]) == (["failed@example.org"], None)
    assert [mail["address"] for mail in (await get("mails", state="sent"))["mails"]] == ["sent@example.org"]


async def test_the_overview_counts_what_runs_waits_and_failed(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, root: SignedIn, get: Any
) -> None:
    empty = await get("overview")
    assert (empty["running"], empty["waiting"], empty["jobs"], empty["failures"], empty["engine"]) == (
        0,
        {},
        {},
        {},
        None,
    )
    alice, bob = await make_user(resources), await make_user(resources, "bob")

    async def launch(user: User, template: str) -> None:
        async with resources.unit_of_work() as session:
            await service.request(session, resources, user, template)

    await launch(alice, "hello")
    await worker.drain()
    await reconcile_engine(worker.context)
    async with resources.unit_of_work() as session:
        workspace = await service.request(session, resources, bob, "hello")
        assert workspace.job is not None
        job = await session.get_one(Job, workspace.job.id)
        job.state, job.error_code, job.finished_at = JobState.FAILED, "image_missing", utcnow()
    async with resources.unit_of_work() as session:
        accepted = await service.request(session, resources, bob, "jupyter")
        assert accepted.job is not None
        await session.execute(
            update(Job).where(Job.id == accepted.job.id).values(admitted_at=None, blocked_by="capacity_memory")
        )
    seen = await get("overview")
    assert (seen["running"], seen["paused"]) == (1, 0)
    assert seen["waiting"] == {"capacity_memory": 1}
    assert seen["jobs"] == {JobKind.LAUNCH: 1}
    assert seen["failures"] == {"image_missing": 1}
    assert (seen["engine"]["memory_bytes"], seen["engine"]["cpus"]) == (8 << 30, 4)
    # What has failed or waits is promised nothing.
    assert seen["promised"]["workspaces"] == 1
    assert seen["promised"]["memory_bytes"] == 64 << 20


async def test_an_admin_who_is_none_any_more_is_refused_at_once(
    client: httpx.AsyncClient, resources: Resources, root: SignedIn
) -> None:
    async with resources.unit_of_work() as session:
        await session.execute(update(User).values(is_admin=False))
        assert await session.scalar(select(User.is_admin)) is False
    answer = await client.get("/api/admin/overview", headers=root.headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_admin")


async def test_the_overview_counts_warm_seats_by_template(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, root: SignedIn, get: Any
) -> None:
    assert (await get("overview"))["seats"] == {}
    want(resources, 3)
    await fill(resources, worker)
    await worker.drain()
    async with resources.unit_of_work() as session:
        await service.request(session, resources, await make_user(resources), "hello")
    await worker.drain()
    (one, *_) = await read_seats(resources, SeatState.READY)
    runtime.end(seat_name(resources.settings, one.id))
    await reconcile_engine(worker.context)
    counts = {"wanted": 3, "starting": 0, "ready": 1, "failed": 1, "ending": 0, "claimed": 1}
    assert (await get("overview"))["seats"] == {"hello": counts}
