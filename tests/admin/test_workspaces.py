"""Admins stop, restart, delete and cancel in the owner's place, by what the owner's own requests go through."""

from typing import Any

import httpx
from sqlalchemy import select, update

from app.models import AuditEntry, Job, JobState, User, UserState, Volume, Workspace
from app.resources import Resources
from tests.conftest import TestWorker
from tests.support.factories import SignedIn, sign_in
from tests.support.fakes import FakeRuntime


async def launch(client: httpx.AsyncClient, who: SignedIn, *templates: str) -> None:
    for template in templates:
        assert (await client.post(f"/api/container/launch/{template}", headers=who.headers)).status_code == 202


async def listed(client: httpx.AsyncClient, root: SignedIn, **params: str | int) -> list[dict[str, Any]]:
    """All pages, of two entries each."""
    found: list[dict[str, Any]] = []
    while True:
        page = (await client.get("/api/admin/workspaces", params={"limit": 2, **params}, headers=root.headers)).json()
        found += page["workspaces"]
        if page["next"] is None:
            return found
        params["before"] = page["next"]


async def test_workspaces_are_found_by_status_template_and_user(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, root: SignedIn, alice: SignedIn
) -> None:
    bob = await sign_in(resources, "bob")
    await launch(client, alice, "hello", "jupyter")
    await worker.drain()
    await launch(client, bob, "hello")

    async def found(**params: str) -> list[tuple[str, str, str]]:
        rows = await listed(client, root, **params)
        return sorted((row["owner"]["slug"], row["type"], row["status"]) for row in rows)

    first, second, third = ("alice", "hello", "running"), ("alice", "jupyter", "running"), ("bob", "hello", "queued")
    assert await found() == [first, second, third]
    assert await found(status="running") == [first, second]
    assert await found(type="hello") == [first, third]
    assert await found(user=str(bob.user.id)) == [third]
    assert await found(type="hello\0") == [first, third]
    assert await found(status="error") == []


async def test_what_an_admin_asks_for_is_done_and_the_owners_state_is_left_alone(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, runtime: FakeRuntime, root: SignedIn
) -> None:
    alice = await sign_in(resources)
    await launch(client, alice, "jupyter")
    await worker.drain()
    async with resources.unit_of_work() as session:
        await session.execute(update(User).where(User.id == alice.user.id).values(state=UserState.VERIFIED))
    (row,) = await listed(client, root)
    path = f"/api/admin/workspaces/{row['id']}"
    seen = []
    for method, part in (("POST", "/stop"), ("POST", "/restart"), ("DELETE", "?volume=delete")):
        answer = await client.request(method, path + part, headers=root.headers)
        assert answer.status_code == 202, answer.text
        body = answer.json()
        assert body["workspace"]["job_id"] == body["job"]["id"]
        await worker.drain()
        job = (await client.get(body["status_url"], headers=root.headers)).json()
        assert (job["job"]["state"], job["owner"]["slug"]) == ("succeeded", "alice")
        seen += [one["status"] for one in await listed(client, root)]
    assert seen == ["stopped", "running", "not_created"]
    assert runtime.containers == {}
    async with resources.reads() as session:
        assert await session.scalar(select(User.state).where(User.slug == "alice")) == UserState.VERIFIED
        assert await session.scalar(select(Volume.delete_at)) is not None
        by = (await session.scalars(select(AuditEntry).order_by(AuditEntry.id))).all()
    assert [(one.actor, one.action) for one in by] == [
        ("alice@example.org", "workspace_launch_requested"),
        ("root@example.org", "workspace_stop_requested"),
        ("root@example.org", "workspace_restart_requested"),
        ("root@example.org", "workspace_delete_requested"),
    ]
    nothing = await client.post(f"{path}/stop", headers=root.headers)
    assert (nothing.status_code, nothing.json()["job"]) == (202, None)


async def test_a_workspace_of_a_template_that_is_gone_can_still_be_ended(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, runtime: FakeRuntime, root: SignedIn
) -> None:
    alice = await sign_in(resources)
    await launch(client, alice, "hello")
    await worker.drain()
    async with resources.unit_of_work() as session:
        await session.execute(update(Workspace).values(template="gone"))
    (row,) = await listed(client, root)
    for method, part, status in (("POST", "/stop", "stopped"), ("DELETE", "", "not_created")):
        answer = await client.request(method, f"/api/admin/workspaces/{row['id']}{part}", headers=root.headers)
        assert answer.status_code == 202, answer.text
        await worker.drain()
        assert [one["status"] for one in await listed(client, root)] == [status]


async def test_jobs_are_found_by_state_kind_user_and_error_and_cancelled(
    client: httpx.AsyncClient, resources: Resources, root: SignedIn, alice: SignedIn
) -> None:
    bob = await sign_in(resources, "bob")
    await launch(client, alice, "hello", "jupyter")
    await launch(client, bob, "hello")
    async with resources.unit_of_work() as session:
        failed = {"state": JobState.FAILED, "error_code": "image_missing"}
        await session.execute(update(Job).where(Job.template == "jupyter").values(**failed))

    async def found(**params: str) -> list[tuple[str, str]]:
        pages: list[dict[str, Any]] = []
        before: dict[str, str] = {}
        while True:
            page = await client.get("/api/admin/jobs", params={"limit": 2, **params, **before}, headers=root.headers)
            pages += page.json()["jobs"]
            if page.json()["next"] is None:
                return sorted((one["owner"]["slug"], one["job"]["type"]) for one in pages)
            before = {"before": page.json()["next"]}

    hello, jupyter, bobs = ("alice", "hello"), ("alice", "jupyter"), ("bob", "hello")
    assert await found() == [hello, jupyter, bobs]
    assert await found(state="queued") == [hello, bobs]
    assert await found(error="image_missing") == [jupyter]
    assert await found(kind="stop") == []
    assert await found(user=str(bob.user.id), kind="launch") == [bobs]
    async with resources.reads() as session:
        job = await session.scalar(select(Job.id).where(Job.user_id == bob.user.id))
    for _ in range(2):
        answer = await client.post(f"/api/admin/jobs/{job}/cancel", headers=root.headers)
        assert (answer.status_code, answer.json()["job"]["state"]) == (200, "cancelled")
    async with resources.reads() as session:
        rows = await session.scalars(select(AuditEntry).where(AuditEntry.action == "job_cancelled"))
        assert [(row.actor, row.target_kind) for row in rows] == [("root@example.org", "workspace")]
