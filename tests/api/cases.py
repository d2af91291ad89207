"""How each answer that the document names is provoked: one case for each operation, status and code."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import httpx

from app.models import JobState
from app.notifications import beside
from app.runtime.base import EngineUnavailable, Status
from tests.api.conftest import Scene
from tests.api.streaming import make_job, make_workspace
from tests.factories import sign_in
from tests.fakes import FakeRuntime
from workers.logs import serve_logs

Provoke = Callable[[Scene], Awaitable[httpx.Response]]
Key = tuple[str, int, str | None]

NOWHERE = "7b0c3c0e-6a44-4c7e-9f0e-1f6f6d3f0a11"
ADDRESS = "alice@example.org"

# Method and path of every operation; `{job}` is one of alice's jobs.
CALLS: dict[str, tuple[str, str]] = {
    "livez": ("GET", "/livez"),
    "readyz": ("GET", "/readyz"),
    "signup": ("POST", "/api/auth/signup"),
    "login": ("POST", "/api/auth/login"),
    "verify": ("POST", "/api/auth/verify"),
    "verify_signup": ("GET", "/api/auth/verify-signup"),
    "verify_login": ("GET", "/api/auth/verify-login"),
    "logout": ("POST", "/api/auth/logout"),
    "me": ("GET", "/api/user/me"),
    "list_containers": ("GET", "/api/user/containers"),
    "list_templates": ("GET", "/api/templates"),
    "container_status": ("GET", "/api/container/status"),
    "container_restart": ("POST", "/api/container/restart"),
    "container_launch": ("POST", "/api/container/launch/hello"),
    "extend_workspace": ("POST", "/api/container/hello/extend"),
    "list_jobs": ("GET", "/api/jobs"),
    "get_job": ("GET", f"/api/jobs/{NOWHERE}"),
    "job_events": ("GET", f"/api/jobs/{NOWHERE}/events"),
    "container_logs": ("GET", "/api/container/hello/logs"),
}
ASKING = ("signup", "login")
BY_QUERY = ("verify_signup", "verify_login")
SPENDING = ("verify", *BY_QUERY)
SIGNED_IN = (
    "logout",
    "me",
    "list_containers",
    "list_templates",
    "container_status",
    "container_restart",
    "container_launch",
    "extend_workspace",
    "list_jobs",
    "get_job",
    "job_events",
    "container_logs",
)
STREAMING = ("job_events", "container_logs")
CHANGING = ("logout", "container_restart", "container_launch", "extend_workspace")
ACCEPTING = ("container_restart", "container_launch")


async def call(scene: Scene, name: str, *, client: httpx.AsyncClient | None = None, **request: Any) -> httpx.Response:
    """Call an operation as alice, unless headers are given, in the scene's language."""
    method, path = CALLS[name]
    headers = request.pop("headers", scene.alice.headers if name in SIGNED_IN else {})
    headers = {**headers, "Accept-Language": scene.locale}
    return await (client or scene.client).request(method, request.pop("path", path), headers=headers, **request)


def good(name: str, token: str = "x") -> dict[str, Any]:
    """A body or query that an operation accepts."""
    if name in ASKING:
        return {"json": {"email": ADDRESS}}
    if name in BY_QUERY:
        return {"params": {"token": token}}
    return {"json": {"token": token}} if name == "verify" else {}


async def succeeds(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, **good(name))


async def spends(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, **good(name, await scene.link()))


async def is_ready(scene: Scene) -> httpx.Response:
    await scene.resources.redis.set("spawner:worker:test:1", "ok")
    return await call(scene, "readyz")


async def navigates(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, headers={"Accept": "text/html"}, **good(name, await scene.link()))


async def runs_already(scene: Scene) -> httpx.Response:
    await scene.launched(run=True)
    return await call(scene, "container_launch")


async def extends_running(scene: Scene) -> httpx.Response:
    await scene.launched(run=True)
    return await call(scene, "extend_workspace")


async def extends_too_early(scene: Scene) -> httpx.Response:
    await scene.launched()
    return await call(scene, "extend_workspace")


async def reads_job(scene: Scene) -> httpx.Response:
    return await call(scene, "get_job", path=(await scene.launched())["status_url"])


async def reads_job_again(scene: Scene) -> httpx.Response:
    first = await reads_job(scene)
    headers = {**scene.alice.headers, "If-None-Match": first.headers["ETag"]}
    return await call(scene, "get_job", path=first.request.url.path, headers=headers)


async def reads_events(scene: Scene) -> httpx.Response:
    job = await make_job(scene.resources, scene.alice.user, JobState.SUCCEEDED)
    return await call(scene, "job_events", path=f"/api/jobs/{job.id}/events")


async def has_the_last_event(scene: Scene) -> httpx.Response:
    first = await reads_events(scene)
    seen = first.text.rpartition("id: ")[2].strip()
    headers = {**scene.alice.headers, "Last-Event-ID": seen}
    return await call(scene, "job_events", path=first.request.url.path, headers=headers)


async def reads_log(scene: Scene) -> httpx.Response:
    await make_workspace(scene.resources, scene.alice.user)
    async with beside(asyncio.create_task(serve_logs(scene.worker.context))):
        return await call(scene, "container_logs")


async def has_the_logs_end(scene: Scene) -> httpx.Response:
    headers = {**scene.alice.headers, "Last-Event-ID": "end"}
    return await call(scene, "container_logs", params={"follow": True}, headers=headers)


class Away(FakeRuntime):
    """An engine that does not answer."""

    async def status(self, name: str) -> Status:
        raise EngineUnavailable


async def finds_no_engine(scene: Scene) -> httpx.Response:
    scene.alice = await sign_in(scene.resources, f"u{scene.locale}")
    await make_workspace(scene.resources, scene.alice.user)
    async with beside(asyncio.create_task(serve_logs(replace(scene.worker.context, runtime=Away(0))))):
        return await call(scene, "container_logs")


async def misses_database(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, client=await scene.without_database(), **good(name))


async def is_stranger(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, headers={})


async def comes_from_elsewhere(name: str, scene: Scene) -> httpx.Response:
    cookie = "; ".join(f"{key}={value}" for key, value in scene.alice.cookies.items())
    return await call(scene, name, headers={"Cookie": cookie, "Origin": "http://127.0.0.1:8080"})


async def sends_nothing(name: str, scene: Scene) -> httpx.Response:
    body: dict[str, Any] = {} if name in BY_QUERY else {"json": {}}
    return await call(scene, name, **body)


async def sends_too_much(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, json={"email": "a" * 70_000, "token": "a" * 70_000})


async def asks_too_often(name: str, scene: Scene) -> httpx.Response:
    for _ in range(3):
        await succeeds(name, scene)
    return await succeeds(name, scene)


async def spends_blocked(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, **good(name, await scene.link(blocked=True)))


async def sends_long_key(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, headers={**scene.alice.headers, "Idempotency-Key": "k" * 256})


async def uses_key_again(name: str, scene: Scene) -> httpx.Response:
    headers = {**scene.alice.headers, "Idempotency-Key": uuid4().hex}
    other = "container_launch" if name == "container_restart" else "container_restart"
    await call(scene, other, headers=headers)
    return await call(scene, name, headers=headers)


CASES: dict[Key, Provoke] = {
    **{(name, 200, None): partial(succeeds, name) for name in CALLS if name not in (*ACCEPTING, *STREAMING)},
    **{(name, 200, None): partial(spends, name) for name in SPENDING},
    ("readyz", 200, None): is_ready,
    ("readyz", 503, None): partial(misses_database, "readyz"),
    ("container_launch", 200, None): runs_already,
    ("container_launch", 400, "unknown_template"): partial(
        call, name="container_launch", path="/api/container/launch/nonsense"
    ),
    ("extend_workspace", 200, None): extends_running,
    ("extend_workspace", 400, "unknown_template"): partial(
        call, name="extend_workspace", path="/api/container/nonsense/extend"
    ),
    ("extend_workspace", 404, "not_found"): partial(call, name="extend_workspace"),
    ("extend_workspace", 409, "not_extendable"): extends_too_early,
    ("list_jobs", 400, "invalid_request"): partial(call, name="list_jobs", params={"limit": 101}),
    ("list_jobs", 404, "not_found"): partial(call, name="list_jobs", params={"before": NOWHERE}),
    ("job_events", 200, None): reads_events,
    ("job_events", 204, None): has_the_last_event,
    ("job_events", 400, "invalid_request"): partial(call, name="job_events", path="/api/jobs/1/events"),
    ("job_events", 404, "not_found"): partial(call, name="job_events"),
    ("container_logs", 200, None): reads_log,
    ("container_logs", 204, None): has_the_logs_end,
    ("container_logs", 400, "invalid_request"): partial(call, name="container_logs", params={"tail": 2001}),
    ("container_logs", 400, "unknown_template"): partial(
        call, name="container_logs", path="/api/container/nonsense/logs"
    ),
    ("container_logs", 404, "no_container"): partial(call, name="container_logs"),
    ("container_logs", 503, "logs_unavailable"): finds_no_engine,
    ("get_job", 200, None): reads_job,
    ("get_job", 304, None): reads_job_again,
    ("get_job", 400, "invalid_request"): partial(call, name="get_job", params={"wait": 31}),
    ("get_job", 404, "not_found"): partial(call, name="get_job"),
    **{
        (name, 200, None): partial(succeeds, name)
        for name in CALLS
        if name not in (*SPENDING, *ACCEPTING, *STREAMING, "get_job", "extend_workspace", "readyz")
    },
    **{(name, 202, None): partial(succeeds, name) for name in ACCEPTING},
    **{(name, 303, None): partial(navigates, name) for name in BY_QUERY},
    **{(name, 400, "invalid_request"): partial(sends_nothing, name) for name in (*ASKING, *SPENDING)},
    **{(name, 400, "invalid_request"): partial(sends_long_key, name) for name in ACCEPTING},
    **{(name, 400, "invalid_link"): partial(succeeds, name) for name in SPENDING},
    **{(name, 401, "unauthorized"): partial(is_stranger, name) for name in SIGNED_IN},
    **{(name, 403, "cross_site"): partial(comes_from_elsewhere, name) for name in CHANGING},
    **{(name, 403, "blocked"): partial(spends_blocked, name) for name in SPENDING},
    **{(name, 409, "idempotency_conflict"): partial(uses_key_again, name) for name in ACCEPTING},
    **{(name, 413, "too_large"): partial(sends_too_much, name) for name in (*ASKING, "verify")},
    **{(name, 429, "rate_limited"): partial(asks_too_often, name) for name in ASKING},
    **{(name, 503, "unavailable"): partial(misses_database, name) for name in CALLS if name not in ("livez", "readyz")},
}
