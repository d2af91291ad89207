"""Launch and restart through the API, on real Postgres and Redis."""

import asyncio
from datetime import timedelta
from functools import partial

import httpx
from sqlalchemy import func, select

from app.catalog.images import image_key
from app.models import Job, JobKind, JobState, MagicLink, User, UserState, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.security.tokens import new_token
from app.workspaces import service
from tests.conftest import TestWorker
from tests.support.crowd import crowd, persist
from tests.support.factories import SignedIn, make_user, sign_in
from tests.support.fakes import FakeRuntime
from tests.support.waiting import PATIENCE


async def launch(client: httpx.AsyncClient, who: SignedIn, type: str = "hello", **headers: str) -> httpx.Response:
    return await client.post(f"/api/container/launch/{type}", headers={**who.headers, **headers})


async def count(resources: Resources, *where: object) -> int:
    async with resources.unit_of_work() as session:
        return await session.scalar(select(func.count()).select_from(Job).where(*where)) or 0  # type: ignore[arg-type]


async def test_a_launch_is_accepted_at_once_and_runs_after_its_job(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker
) -> None:
    alice = await sign_in(resources)
    accepted = await launch(client, alice)
    assert accepted.status_code == 202
    body = accepted.json()
    assert body["status"] == "queued"
    assert body["job"]["state"] == "queued"
    assert body["job"]["position"] == 1
    assert body["status_url"] == f"/api/jobs/{body['job']['id']}"
    assert body["service_url"] == "http://alice-hello.localhost:8080/"

    await worker.drain()
    job = (await client.get(body["status_url"], headers=alice.headers)).json()
    assert job["state"] == "succeeded"
    assert job["progress"] == 100
    steps = [entry["step"] for entry in job["timeline"]]
    assert steps == ["queued", "claimed", "creating", "starting", "probing", "ready"]
    status = (await client.get("/api/container/status", headers=alice.headers)).json()
    assert status["status"] == "running"


async def test_launching_what_runs_answers_200_without_a_job(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    alice = await sign_in(resources)
    await launch(client, alice)
    await worker.drain()
    again = await launch(client, alice)
    assert again.status_code == 200
    assert again.json()["status"] == "running"
    assert again.json()["job"] is None
    assert runtime.created == 1


async def test_100_concurrent_launches_are_one_job_and_one_container(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    alice = await sign_in(resources)
    answers = await crowd(persist(partial(launch, client, alice)) for _ in range(100))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["job"]["id"] for answer in answers}) == 1
    async with worker.running():
        await wait_for_state(client, alice, answers[0].json()["status_url"])
    assert runtime.created == 1
    assert len(runtime.containers) == 1
    assert await count(resources) == 1


async def wait_for_state(client: httpx.AsyncClient, who: SignedIn, url: str, state: str = "succeeded") -> None:
    async with asyncio.timeout(PATIENCE):
        while (await client.get(url, params={"wait": 5}, headers=who.headers)).json()["state"] != state:
            pass


async def test_a_restart_replaces_the_container(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    alice = await sign_in(resources)
    await launch(client, alice)
    await worker.drain()
    before = (await client.get("/api/container/status", headers=alice.headers)).json()["container_id"]
    restarted = await client.post("/api/container/restart", headers=alice.headers)
    assert restarted.status_code == 202
    await worker.drain()
    after = (await client.get("/api/container/status", headers=alice.headers)).json()
    assert after["status"] == "running"
    assert after["container_id"] != before
    assert runtime.created == 2
    assert len(runtime.containers) == 1


async def test_a_restart_supersedes_a_launch_that_has_not_ended(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    alice = await sign_in(resources)
    first = (await launch(client, alice)).json()
    second = (await client.post("/api/container/restart", headers=alice.headers)).json()
    assert second["job"]["id"] != first["job"]["id"]
    await worker.drain()
    old = (await client.get(first["status_url"], headers=alice.headers)).json()
    assert old["state"] == "superseded"
    assert old["error"]["code"] == "superseded"
    new = (await client.get(second["status_url"], headers=alice.headers)).json()
    assert new["state"] == "succeeded"
    assert len(runtime.containers) == 1


async def test_an_unknown_type_is_refused(client: httpx.AsyncClient, resources: Resources) -> None:
    alice = await sign_in(resources)
    answer = await launch(client, alice, "nonsense")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "unknown_template"


async def test_without_a_session_every_endpoint_answers_401(client: httpx.AsyncClient) -> None:
    for method, path in [
        ("POST", "/api/container/launch/hello"),
        ("POST", "/api/container/restart"),
        ("GET", "/api/container/status"),
        ("GET", "/api/user/me"),
        ("GET", "/api/user/containers"),
        ("GET", "/api/jobs"),
        ("GET", "/api/templates"),
        ("GET", "/api/jobs/7b0c3c0e-6a44-4c7e-9f0e-1f6f6d3f0a11"),
    ]:
        answer = await client.request(method, path)
        assert answer.status_code == 401, path
        assert answer.json()["code"] == "unauthorized"
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_first_asked_for_launch_makes_the_user_active(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    alice = await sign_in(resources)
    async with resources.unit_of_work() as session:
        await service.request(session, resources, alice.user, "hello", asked=False)
    assert await state_of(resources, alice.user) is UserState.VERIFIED
    await launch(client, alice)
    assert await state_of(resources, alice.user) is UserState.ACTIVE


async def state_of(resources: Resources, user: User) -> UserState:
    async with resources.unit_of_work() as session:
        return (await session.get_one(User, user.id)).state


async def test_a_sign_in_notices_a_container_that_is_gone_and_makes_it_anew(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    alice = await sign_in(resources)
    await launch(client, alice)
    await worker.drain()
    runtime.containers.clear()
    async with resources.unit_of_work() as session:
        await service.request(session, resources, alice.user, "hello", asked=False)
    await worker.drain()
    assert len(runtime.containers) == 1


async def test_a_sign_in_leaves_a_running_workspace_reachable(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    alice = await sign_in(resources)
    await launch(client, alice)
    await worker.drain()
    async with resources.unit_of_work() as session:
        launched = await service.request(session, resources, alice.user, "hello", asked=False)
        assert launched.workspace.status is WorkspaceStatus.RUNNING
    await worker.drain()
    assert runtime.created == 1


async def test_the_same_idempotency_key_answers_the_same_job(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker
) -> None:
    alice = await sign_in(resources)
    key = {"Idempotency-Key": "k1"}
    first = await client.post("/api/container/restart", headers={**alice.headers, **key})
    await worker.drain()
    second = await client.post("/api/container/restart", headers={**alice.headers, **key})
    assert second.status_code == 202
    assert second.json()["job"]["id"] == first.json()["job"]["id"]
    assert await count(resources) == 1


async def test_50_concurrent_requests_with_one_key_are_one_job(client: httpx.AsyncClient, resources: Resources) -> None:
    alice = await sign_in(resources)
    headers = {**alice.headers, "Idempotency-Key": "k1"}
    answers = await crowd(client.post("/api/container/restart", headers=headers) for _ in range(50))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["job"]["id"] for answer in answers}) == 1


async def test_an_idempotency_key_with_another_request_is_a_conflict(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    alice = await sign_in(resources)
    key = {"Idempotency-Key": "k1"}
    await launch(client, alice, **key)
    other = await launch(client, alice, "jupyter", **key)
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_conflict"


async def test_two_users_may_use_the_same_idempotency_key(client: httpx.AsyncClient, resources: Resources) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await launch(client, await sign_in(resources, "alice"), **key)
    second = await launch(client, await sign_in(resources, "bob"), **key)
    assert first.json()["job"]["id"] != second.json()["job"]["id"]


async def test_a_launch_while_redis_is_down_is_accepted_and_kept(resources: Resources) -> None:
    alice = await make_user(resources)
    await resources.redis.aclose()
    async with resources.unit_of_work() as session:
        launched = await service.request(session, resources, alice, "hello")
    assert launched.job is not None
    assert await count(resources, Job.state == JobState.QUEUED) == 1


async def test_the_catalogue_shows_a_build_that_is_under_way(client: httpx.AsyncClient, resources: Resources) -> None:
    alice = await sign_in(resources)
    await resources.redis.set(image_key(resources.settings.instance, "spawner/jupyter:1"), "building")
    templates = (await client.get("/api/templates", headers=alice.headers)).json()["templates"]
    assert {template["type"]: template["image"] for template in templates} == {"hello": None, "jupyter": "building"}
    assert [template["default"] for template in templates] == [True, False]


async def test_containers_list_every_template_launched_or_not(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker
) -> None:
    alice = await sign_in(resources)
    await launch(client, alice)
    await worker.drain()
    german = {**alice.headers, "Accept-Language": "de"}
    entries = (await client.get("/api/user/containers", headers=german)).json()["containers"]
    assert [(entry["type"], entry["status"]) for entry in entries] == [("hello", "running"), ("jupyter", "not_created")]
    me = (await client.get("/api/user/me", headers=alice.headers)).json()
    assert me["user"]["slug"] == "alice"
    assert me["container"]["status"] == "running"


async def test_a_foreign_job_is_as_unknown_as_one_that_never_was(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    job = (await launch(client, await sign_in(resources, "alice"))).json()
    bob = await sign_in(resources, "bob")
    foreign = await client.get(job["status_url"], headers=bob.headers)
    unknown = await client.get("/api/jobs/7b0c3c0e-6a44-4c7e-9f0e-1f6f6d3f0a11", headers=bob.headers)
    assert foreign.status_code == unknown.status_code == 404
    assert {**foreign.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}


async def test_jobs_come_in_pages_newest_first(client: httpx.AsyncClient, resources: Resources) -> None:
    alice = await sign_in(resources)
    kinds = [JobKind.LAUNCH, JobKind.RESTART]
    async with resources.unit_of_work() as session:
        for kind in kinds:
            await service.request(session, resources, alice.user, "hello", kind=kind)
    first = (await client.get("/api/jobs?limit=1", headers=alice.headers)).json()
    assert [job["kind"] for job in first["jobs"]] == ["restart"]
    second = (await client.get(f"/api/jobs?limit=1&before={first['next']}", headers=alice.headers)).json()
    assert [job["kind"] for job in second["jobs"]] == ["launch"]
    assert second["next"] is None


async def test_one_user_has_one_workspace_of_a_template(resources: Resources) -> None:
    alice = await make_user(resources)

    async def accept() -> None:
        async with resources.unit_of_work() as session:
            await service.request(session, resources, alice, "hello")

    await crowd(accept() for _ in range(20))
    async with resources.unit_of_work() as session:
        assert await session.scalar(select(func.count()).select_from(Workspace)) == 1


async def test_launches_and_sign_ins_of_one_user_at_once_do_not_wait_in_a_circle(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    alice = await sign_in(resources)
    tokens = [new_token() for _ in range(10)]
    for token in tokens:
        async with resources.unit_of_work() as session:
            digest = resources.tokens.hash("link", token)
            expires = utcnow() + timedelta(minutes=5)
            session.add(MagicLink(user_id=alice.user.id, token_hash=digest, expires_at=expires))
    verifies = [client.post("/api/auth/verify", json={"token": token}) for token in tokens]
    launches = [launch(client, alice) for _ in range(10)]
    answers = await crowd([*verifies, *launches])
    assert sorted(answer.status_code for answer in answers) == [200] + [202] * 10 + [400] * 9
