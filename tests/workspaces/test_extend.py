"""A user keeps a workspace from resting, and sees what lies before it."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from app.models import Job, JobKind, JobState, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.workspaces import idle, service
from tests.support.factories import SignedIn, sign_in

LIMITS = {"idle_pause": 600, "idle_stop": 3600, "max_lifetime": 7200}
EXTEND = "/api/container/hello/extend"


@pytest.fixture
async def alice(app: FastAPI, resources: Resources) -> SignedIn:
    """Alice, whose workspace of the default template ran unused for nine minutes; its template sets every limit."""
    hello, *others = resources.catalog.templates
    catalog = replace(resources.catalog, templates=(hello.model_copy(update=LIMITS), *others))
    app.state.resources = replace(resources, catalog=catalog)
    alice = await sign_in(resources)
    past = utcnow() - timedelta(minutes=9)
    async with resources.unit_of_work() as session:
        session.add(
            Workspace(
                user_id=alice.user.id,
                template="hello",
                status=WorkspaceStatus.RUNNING,
                started_at=past,
                active_at=past,
                host="127.0.0.1",
                port=1,
            )
        )
    return alice


async def change(resources: Resources, **values: Any) -> None:
    async with resources.unit_of_work() as session:
        await session.execute(update(Workspace).values(**values))


def when(body: dict[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(body["idle"][name])


async def test_it_counts_as_use_and_does_not_move_the_longest_life(client: httpx.AsyncClient, alice: SignedIn) -> None:
    before = (await client.get("/api/container/hello", headers=alice.headers)).json()
    assert before["idle"]["warning"] == "pause"
    after = (await client.post(EXTEND, headers=alice.headers)).json()
    assert after["idle"]["warning"] is None
    assert when(after, "active_at") - when(before, "active_at") >= timedelta(minutes=9)
    assert when(after, "pauses_at") == when(after, "active_at") + timedelta(seconds=600)
    assert when(after, "stops_at") == when(after, "active_at") + timedelta(seconds=3600)
    assert after["idle"]["ends_at"] == before["idle"]["ends_at"]
    assert (before["rest"], after["rest"]) == (None, None)


async def test_a_paused_one_says_why_and_when_it_stops(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await change(resources, status=WorkspaceStatus.PAUSED, rest_reason="idle_pause")
    body = (await client.post(EXTEND, headers={**alice.headers, "Accept-Language": "de"})).json()
    assert body["status"] == "paused"
    assert body["idle"]["pauses_at"] is None
    assert when(body, "stops_at") > utcnow() + timedelta(seconds=3500)
    assert body["rest"]["code"] == "idle_pause"
    assert "niemand benutzt" in body["rest"]["message"]


async def test_a_stopped_one_cannot_be_extended_and_says_why_it_stopped(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await change(resources, status=WorkspaceStatus.STOPPED, rest_reason="max_lifetime")
    answer = await client.post(EXTEND, headers=alice.headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_extendable")
    body = (await client.get("/api/container/hello", headers=alice.headers)).json()
    assert (body["idle"], body["rest"]["code"]) == (None, "max_lifetime")


async def test_it_takes_back_a_pause_that_is_under_way(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    async with resources.unit_of_work() as session:
        workspace = (await session.scalars(select(Workspace).with_for_update())).one()
        await service.begin(session, resources, workspace, JobKind.PAUSE, reason="idle_pause")
    assert (await client.post(EXTEND, headers=alice.headers)).status_code == 200
    async with resources.unit_of_work() as session:
        jobs = [(job.kind, job.state) for job in await session.scalars(select(Job).order_by(Job.created_at))]
    assert jobs == [(JobKind.PAUSE, JobState.SUPERSEDED), (JobKind.LAUNCH, JobState.QUEUED)]


async def test_a_paused_one_that_is_to_be_kept_awake_wakes(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await change(resources, status=WorkspaceStatus.PAUSED, rest_reason="idle_pause")
    until = utcnow() + timedelta(minutes=30)
    body = (await keep(client, alice, until)).json()
    assert (body["job"]["kind"], body["job"]["state"]) == ("launch", "queued")
    async with resources.reads() as session:
        assert (await session.scalars(select(Workspace.kept_until))).one() == until


async def keep(client: httpx.AsyncClient, alice: SignedIn, until: datetime) -> httpx.Response:
    return await client.post(EXTEND, headers=alice.headers, json={"until": until.isoformat()})


async def rests(app: FastAPI, resources: Resources, after: timedelta) -> bool:
    """Whether the workspace, which does nothing, is brought to rest so much later."""
    async with resources.unit_of_work() as session:
        await session.execute(update(Workspace).values(sampled_at=utcnow() + after))
        workspace = (await session.scalars(select(Workspace))).one()
        template = app.state.resources.catalog.default
        return idle.due_action(template, workspace, utcnow() + after, timedelta(minutes=2)) is not None


async def test_one_that_does_nothing_is_kept_awake_until_the_time_that_its_owner_says(
    client: httpx.AsyncClient, app: FastAPI, resources: Resources, alice: SignedIn
) -> None:
    until = utcnow() + timedelta(minutes=90)
    body = (await keep(client, alice, until)).json()
    assert when(body, "kept_until") == when(body, "pauses_at") == when(body, "stops_at") == until
    assert body["idle"]["warning"] is None
    assert body["idle"]["use"] == {"cpu_share": idle.BUSY_CPU, "bytes_a_minute": idle.BUSY_BYTES_A_MINUTE}
    assert not await rests(app, resources, timedelta(minutes=89))
    assert await rests(app, resources, timedelta(minutes=91))
    # The last word counts, also a shorter one.
    assert (await keep(client, alice, utcnow() + timedelta(minutes=20))).status_code == 200
    assert await rests(app, resources, timedelta(minutes=21))


async def test_it_is_kept_awake_no_longer_than_it_may_live_and_not_into_the_past(
    client: httpx.AsyncClient, app: FastAPI, resources: Resources, alice: SignedIn
) -> None:
    ends = when((await client.get("/api/container/hello", headers=alice.headers)).json(), "ends_at")
    for until in (ends + timedelta(seconds=1), utcnow() - timedelta(seconds=1)):
        refused = await keep(client, alice, until)
        assert (refused.status_code, refused.json()["code"]) == (400, "until_out_of_range")
    naive = await client.post(EXTEND, headers=alice.headers, json={"until": "2031-01-01T00:00:00"})
    assert (naive.status_code, naive.json()["code"]) == (400, "invalid_request")
    assert (await keep(client, alice, ends)).status_code == 200
    assert await rests(app, resources, timedelta(hours=2))


@pytest.mark.parametrize(("path", "stays"), [("hello/stop", False), ("hello/restart", True), ("launch/hello", True)])
async def test_a_stop_ends_it_and_neither_a_restart_nor_waking_does(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, path: str, stays: bool
) -> None:
    await keep(client, alice, utcnow() + timedelta(minutes=30))
    await change(resources, status=WorkspaceStatus.PAUSED)
    assert (await client.post(f"/api/container/{path}", headers=alice.headers)).status_code == 202
    async with resources.reads() as session:
        kept = (await session.scalars(select(Workspace.kept_until))).one()
    assert (kept is not None) is stays


async def test_nobody_extends_what_another_has(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    bob = await sign_in(resources, "bob")
    assert (await client.post(EXTEND, headers=bob.headers)).status_code == 404
