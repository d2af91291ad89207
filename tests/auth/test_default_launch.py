"""The launch that follows a sign-in, which never keeps anybody from signing in."""

import asyncio

import httpx
import structlog
from sqlalchemy import func, select

from app.models import Session, Workspace
from app.resources import Resources
from app.workspaces import service
from tests.conftest import TestWorker
from tests.support.driving import admit_waiting
from tests.support.emails import Inbox
from tests.support.factories import make_link, make_user
from tests.support.statements import counted
from tests.support.waiting import PATIENCE

MOST = 12
AT_ONCE = 100


async def verify(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/api/auth/verify", json={"token": token})


async def sessions(resources: Resources) -> int:
    async with resources.reads() as session:
        return await session.scalar(select(func.count(Session.id))) or 0


async def test_a_sign_in_begins_a_launch_and_says_its_place(client: httpx.AsyncClient, resources: Resources) -> None:
    answer = await verify(client, await make_link(resources, await make_user(resources)))
    job = answer.json()["job"]
    assert (job["kind"], job["state"], job["position"]) == ("launch", "queued", 1)


async def test_a_launch_that_is_refused_keeps_nobody_from_signing_in(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    resources.settings.running_limit, resources.settings.queue_limit = 1, 0
    async with resources.unit_of_work() as session:
        await service.request(session, resources, await make_user(resources, "first"), "hello")
    await admit_waiting(resources)
    answer = await verify(client, await make_link(resources, await make_user(resources)))
    assert (answer.status_code, answer.json()["job"]) == (200, None)
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await client.get("/api/user/me", headers=headers)).json()["container"]["status"] == "not_created"
    assert (await client.post("/api/container/launch/hello", headers=headers)).json()["code"] == "capacity_running"


async def test_a_launch_that_fails_keeps_nobody_from_signing_in(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    alice = await make_user(resources)
    token = await make_link(resources, alice)
    async with resources.unit_of_work() as session:
        session.add(Workspace(user_id=alice.id, template="hello"))
    async with resources.unit_of_work() as session:
        await session.scalar(select(Workspace.id).with_for_update())
        signing_in = asyncio.create_task(verify(client, token))
        async with asyncio.timeout(PATIENCE):
            while not await sessions(resources):
                await asyncio.sleep(0.02)
        # The session is there while the launch still waits for the row, until the database gives the wait up.
        assert not signing_in.done()
        with structlog.testing.capture_logs() as said:
            answer = await signing_in
    assert (answer.status_code, answer.json()["job"]) == (200, None)
    assert [line["user_id"] for line in said if line["event"] == "default_not_launched"] == [str(alice.id)]


async def test_a_sign_in_costs_twelve_statements(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker
) -> None:
    alice = await make_user(resources)
    for state in ("without a workspace", "on its way", "running"):
        token = await make_link(resources, alice)
        async with counted(resources.engine, resources.reader) as statements:
            assert (await verify(client, token)).status_code == 200
        assert len(statements) <= MOST, "\n".join([state, *statements])
        if state == "on its way":
            await worker.drain()


async def test_a_first_sign_in_costs_twelve_statements(
    client: httpx.AsyncClient, worker: TestWorker, inbox: Inbox, resources: Resources
) -> None:
    await client.post("/api/auth/signup", json={"email": "dora@example.org"})
    await worker.drain()
    token = inbox.token("dora@example.org")
    async with counted(resources.engine, resources.reader) as statements:
        assert (await verify(client, token)).json()["user"]["is_admin"]
    assert len(statements) <= MOST, "\n".join(statements)


async def test_a_hundred_sign_ins_at_once_are_all_answered(client: httpx.AsyncClient, resources: Resources) -> None:
    users = [await make_user(resources, f"user{number}") for number in range(AT_ONCE)]
    tokens = [await make_link(resources, user) for user in users]
    answers = await asyncio.gather(*(verify(client, token) for token in tokens))
    assert [answer.status_code for answer in answers] == [200] * AT_ONCE
    assert {answer.json()["user"]["slug"] for answer in answers} == {user.slug for user in users}
    assert await sessions(resources) == AT_ONCE
    # Each session was committed before its launch began, and each launch waits or runs.
    assert all(answer.json()["job"]["kind"] == "launch" for answer in answers)
