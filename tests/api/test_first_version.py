"""Clients of the first version keep working: each row of its table, by the exact fields and statuses."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import jwt
import pytest
from sqlalchemy import update

from app.models import User, UserState
from app.resources import Resources
from tests.conftest import TestWorker
from tests.support.factories import SignedIn, make_link, make_user

SENT = "If this address can sign in here, a link is on its way. Look into your mailbox."
HELLO = "http://alice-hello.localhost:8080/"
JOB_FIELDS = {
    "id",
    "kind",
    "type",
    "platform",
    "state",
    "step",
    "progress",
    "position",
    "eta_seconds",
    "waits_for",
    "timeline",
    "error",
    "created_at",
    "started_at",
    "finished_at",
}


def check_job(job: dict[str, Any], kind: str = "launch", type: str = "hello") -> None:
    """An accepted job that waits."""
    assert set(job) == JOB_FIELDS
    assert (job["kind"], job["type"], job["state"], job["step"]) == (kind, type, "queued", "queued")
    assert (job["progress"], job["position"], job["error"]) == (0, 1, None)
    (entry,) = job["timeline"]
    assert set(entry) == {"at", "step", "detail"}
    assert when(job["created_at"]) <= datetime.now(UTC)


def when(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    assert parsed.tzinfo is not None
    return parsed


async def reload(resources: Resources, user: User) -> User:
    async with resources.sessions() as session:
        return await session.get_one(User, user.id)


@pytest.mark.parametrize("path", ["signup", "login"])
async def test_signup_and_login_answer_the_same_bytes_to_everybody(
    client: httpx.AsyncClient, resources: Resources, path: str
) -> None:
    await make_user(resources, "known")
    await make_user(resources, "blocked")
    async with resources.unit_of_work() as session:
        await session.execute(update(User).where(User.slug == "blocked").values(blocked_at=datetime.now(UTC)))
    # From then on the browser has its cookie, and gets none.
    await client.post(f"/api/auth/{path}", json={"email": "somebody@example.org"})
    answers = [
        await client.post(f"/api/auth/{path}", json={"email": address})
        for address in (
            "known@example.org",
            "blocked@example.org",
            "new@example.org",
            "nobody@nowhere.example.net",
        )
    ]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.content for answer in answers} == {answers[0].content}
    assert answers[0].json() == {"message": SENT}
    varying = {"x-request-id", "date"}
    headers = [{k: v for k, v in answer.headers.items() if k not in varying} for answer in answers]
    assert all(one == headers[0] for one in headers)


@pytest.mark.parametrize("path", ["verify-signup", "verify-login"])
async def test_a_verification_answers_a_token_body_and_launches_the_default_workspace(
    client: httpx.AsyncClient, resources: Resources, path: str
) -> None:
    user = await make_user(resources, state=UserState.REGISTERED)
    token = await make_link(resources, user)
    answer = await client.get(f"/api/auth/{path}", params={"token": token}, headers={"Accept": "application/json"})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "user", "job"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    assert body["user"] == {
        "id": str(user.id),
        "email": "alice@example.org",
        "slug": "alice",
        "is_admin": True,
        "state": "verified",
        "container_id": None,
    }
    check_job(body["job"])
    assert (await reload(resources, user)).last_used is not None
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert set(claims) == {"iss", "aud", "sub", "jti", "sid", "iat", "exp", "is_admin"}
    assert claims["exp"] - claims["iat"] == 3600
    again = await client.get(f"/api/auth/{path}", params={"token": token}, headers={"Accept": "application/json"})
    assert (again.status_code, again.json()["code"]) == (400, "invalid_link")


async def test_logout_ends_the_session(client: httpx.AsyncClient, alice: SignedIn) -> None:
    answer = await client.post("/api/auth/logout", headers=alice.headers)
    assert (answer.status_code, answer.json()) == (200, {"message": "You are signed out."})
    assert (await client.get("/api/user/me", headers=alice.headers)).status_code == 401


async def test_me_shows_the_user_and_the_default_workspace(
    client: httpx.AsyncClient, alice: SignedIn, worker: TestWorker
) -> None:
    body = (await client.get("/api/user/me", headers=alice.headers)).json()
    created = body["user"].pop("created_at")
    assert when(created) == alice.user.created_at
    assert body == {
        "user": {
            "id": str(alice.user.id),
            "email": "alice@example.org",
            "slug": "alice",
            "is_admin": False,
            "state": "verified",
            "last_used": None,
        },
        "container": {"id": None, "port": None, "status": "not_created", "service_url": HELLO},
    }
    await client.post("/api/container/launch/hello", headers=alice.headers)
    await worker.drain()
    body = (await client.get("/api/user/me", headers=alice.headers)).json()
    assert body["user"]["state"] == "active"
    container = body["container"]
    assert (container["status"], container["service_url"]) == ("running", HELLO)
    assert container["id"]
    assert isinstance(container["port"], int)


async def test_containers_has_one_entry_for_each_template(
    client: httpx.AsyncClient, alice: SignedIn, worker: TestWorker
) -> None:
    entry = (await client.get("/api/user/containers", headers=alice.headers)).json()["containers"][0]
    text = "A small page that shows who and where you are, and answers over a websocket."
    empty = dict.fromkeys(
        ("container_id", "created_at", "last_used", "job", "error", "idle", "rest", "last_exit", "memory_kills")
    )
    names = {"type": "hello", "display_name": "Hello", "description": text, "service_url": HELLO}
    assert entry == {**names, "status": "not_created", "outdated": False, **empty}
    await client.post("/api/container/launch/hello", headers=alice.headers)
    answer = (await client.get("/api/user/containers", headers=alice.headers)).json()
    assert set(answer) == {"containers"}
    assert [one["type"] for one in answer["containers"]] == ["hello", "jupyter"]
    launched = answer["containers"][0]
    check_job(launched["job"])
    assert launched["status"] == "queued"
    assert when(launched["created_at"]) <= when(launched["last_used"])


async def test_status_of_the_default_workspace(client: httpx.AsyncClient, alice: SignedIn, worker: TestWorker) -> None:
    async def status() -> Any:
        answer = await client.get("/api/container/status", headers=alice.headers)
        assert answer.status_code == 200
        return answer.json()

    assert await status() == {"container_id": None, "status": "no_container"}
    await client.post("/api/container/launch/hello", headers=alice.headers)
    assert await status() == {"container_id": None, "status": "queued"}
    await worker.drain()
    running = await status()
    assert set(running) == {"container_id", "status"}
    assert running["status"] == "running"
    assert running["container_id"]


async def test_restart_is_accepted_and_makes_the_user_active(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    answer = await client.post("/api/container/restart", headers=alice.headers)
    assert answer.status_code == 202
    body = answer.json()
    assert set(body) == {"message", "job", "status_url", "service_url", "container_id", "status"}
    check_job(body["job"], "restart")
    assert body["status_url"] == f"/api/jobs/{UUID(body['job']['id'])}"
    assert (body["message"], body["status"]) == ("The workspace is starting.", "queued")
    assert (await reload(resources, alice.user)).state is UserState.ACTIVE


async def test_launch_is_accepted_or_says_that_it_runs_or_that_there_is_no_such_type(
    client: httpx.AsyncClient, alice: SignedIn, worker: TestWorker
) -> None:
    accepted = await client.post("/api/container/launch/hello", headers=alice.headers)
    assert accepted.status_code == 202
    body = accepted.json()
    check_job(body.pop("job"))
    assert UUID(body.pop("status_url").removeprefix("/api/jobs/"))
    starting = "The workspace is starting."
    assert body == {"message": starting, "service_url": HELLO, "container_id": None, "status": "queued"}
    await worker.drain()
    running = await client.post("/api/container/launch/hello", headers=alice.headers)
    assert running.status_code == 200
    body = running.json()
    assert body.pop("container_id")
    message = "The workspace is running."
    nothing = {"job": None, "status_url": None}
    assert body == {"message": message, **nothing, "service_url": HELLO, "status": "running"}
    unknown = await client.post("/api/container/launch/none", headers=alice.headers)
    assert (unknown.status_code, unknown.json()["code"]) == (400, "unknown_template")
    assert unknown.json()["error"] == unknown.json()["detail"]


async def test_the_added_verify_answers_a_token_body_and_a_cookie(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    token = await make_link(resources, await make_user(resources))
    answer = await client.post("/api/auth/verify", json={"token": token})
    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "token_type", "expires_in", "user", "job"}
    names = [cookie.partition("=")[0] for cookie in answer.headers.get_list("set-cookie")]
    assert set(names) == {"spawner_session", "spawner_refresh", "spawner_browser"}
    assert answer.headers["Cache-Control"] == "no-store"


async def test_the_added_catalogue_speaks_the_callers_language(client: httpx.AsyncClient, alice: SignedIn) -> None:
    german = {**alice.headers, "Accept-Language": "de"}
    hello, jupyter = (await client.get("/api/templates", headers=german)).json()["templates"]
    assert hello == {
        "type": "hello",
        "display_name": "Hallo",
        "description": hello["description"],
        "default": True,
        "memory_bytes": 64 << 20,
        "cpus": 0.5,
        "keeps_files": False,
        "image": None,
    }
    assert hello["description"].startswith("Eine kleine Seite")
    assert (jupyter["type"], jupyter["default"], jupyter["keeps_files"]) == ("jupyter", False, True)


async def test_the_added_jobs_show_how_far_they_are(
    client: httpx.AsyncClient, alice: SignedIn, worker: TestWorker
) -> None:
    url = (await client.post("/api/container/launch/hello", headers=alice.headers)).json()["status_url"]
    check_job((await client.get(url, headers=alice.headers)).json())
    await worker.drain()
    job = (await client.get(url, headers=alice.headers)).json()
    assert set(job) == JOB_FIELDS
    assert (job["state"], job["step"], job["progress"], job["position"]) == ("succeeded", "ready", 100, None)
    times = [when(entry["at"]) for entry in job["timeline"]]
    assert times == sorted(times)
    assert when(job["created_at"]) <= when(job["started_at"]) <= when(job["finished_at"])
    page = (await client.get("/api/jobs", headers=alice.headers)).json()
    assert page == {"jobs": [job], "next": None}
