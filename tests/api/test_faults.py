"""Whatever breaks inside, and however oddly, a client learns that it broke, and nothing of what."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from sqlalchemy.exc import IntegrityError, NoResultFound, OperationalError
from starlette.exceptions import HTTPException

from app.core.settings.model import Settings
from app.mail.sender import MailDeferred, MailRefused, Stage
from app.resources import Resources
from app.runtime.base import RuntimeFault
from tests.api.conftest import NO_DATABASE, NO_REDIS, Scene, serving
from tests.api.operations import OPERATIONS, PERSON, USER, call
from tests.api.routes import addresses
from tests.conftest import TestWorker
from tests.support.fakes import FakeRuntime
from tests.support.waiting import PATIENCE

CANARY = "canary-7f3a at dbseven.internal:5432 as postgres"
# What would tell of our insides: the text, where parts are, the words of Python and of libraries.
TELLTALE = re.compile(
    r"canary|dbseven|127\.0\.0\.1:1\b|:5432|Traceback|File \"|line \d+, in|(?-i:\w(Error|Exception)\b)|asyncpg"
    r"|sqlalchemy|redis\.|(?<!<)SELECT |aiodocker|site-packages|errno|refused\]",
    re.IGNORECASE,
)
ODD: list[Callable[[], BaseException]] = [
    lambda: RuntimeError(CANARY),
    lambda: KeyError(CANARY),
    lambda: OSError(111, CANARY),
    lambda: TimeoutError(CANARY),
    lambda: RecursionError(CANARY),
    lambda: UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, CANARY),
    lambda: ExceptionGroup(CANARY, [ValueError(CANARY)]),
    lambda: HTTPException(418, CANARY, {"X-Canary": "1"}),
    lambda: HTTPException(404, CANARY),
    lambda: IntegrityError(f"INSERT INTO {CANARY}", {"token": CANARY}, Exception(CANARY)),
    lambda: OperationalError("SELECT 1", {"token": CANARY}, Exception(CANARY)),
    lambda: RedisConnectionError(CANARY),
    lambda: ResponseError(CANARY),
    lambda: json.JSONDecodeError(CANARY, CANARY, 0),
]


class Broken:
    """Stands for any resource: whatever is asked of it raises."""

    def __init__(self, make: Callable[[], BaseException]) -> None:
        self._make = make

    def __call__(self, *given: Any, **named: Any) -> Any:
        raise self._make()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


def check(answer: httpx.Response) -> None:
    place = f"{answer.request.method} {answer.request.url} {answer.status_code} {answer.text[:300]}"
    shown = f"{answer.text} {[value for name, value in answer.headers.multi_items() if name != 'location']}"
    if "text/html" in answer.headers.get("Content-Type", "") or answer.status_code >= 400:
        assert not TELLTALE.search(shown), place
    if answer.status_code < 500 or answer.request.url.path == "/readyz":
        return
    assert answer.status_code in (500, 503), place
    if answer.headers["Content-Type"] == "application/problem+json":
        code = answer.json()["code"]
        assert code in {500: ("internal",), 503: ("unavailable", "logs_unavailable")}[answer.status_code], place


async def walk(client: httpx.AsyncClient, app: FastAPI, headers: dict[str, str]) -> list[int]:
    """Ask for every route; what came of it."""
    seen = []
    for method, path in addresses(app):
        accept = "text/html" if not path.startswith("/api") else "*/*"
        body: dict[str, Any] = {"json": {"email": "a@b.org", "token": "x" * 40}} if path.startswith("/api/auth") else {}
        check(answer := await client.request(method, path, headers={"Accept": accept, **headers}, **body))
        seen.append(answer.status_code)
    return seen


@pytest.mark.parametrize("gone", [{"database_url": NO_DATABASE}, {"redis_url": NO_REDIS}], ids=["database", "redis"])
async def test_a_part_that_is_gone_is_named_to_nobody(
    scene: Scene, app: FastAPI, settings: Settings, gone: dict[str, str]
) -> None:
    async with serving(settings.model_copy(update=gone)) as client:
        seen = await walk(client, app, scene.admin.headers)
        assert 503 in seen
        assert 500 not in seen


@pytest.mark.parametrize("part", ["database", "redis"])
async def test_an_odd_error_of_a_part_is_told_to_nobody(
    scene: Scene, app: FastAPI, resources: Resources, part: str
) -> None:
    def breaks(make: Callable[[], BaseException]) -> None:
        broken: Any = Broken(make)
        parts = {"sessions": broken, "reads": broken} if part == "database" else {"redis": broken, "limits": broken}
        app.state.resources = replace(resources, **parts)

    ask = scene.client.request
    for make in ODD:
        breaks(make)
        for accept in ("*/*", "text/html"):
            headers = {**scene.alice.headers, "Accept": accept}
            check(await ask("GET", "/api/user/me", headers=headers))
            check(await ask("GET", "/", headers=headers))
            check(await ask("POST", "/api/auth/login", headers=headers, json={"email": "a@b.org"}))
    breaks(ODD[0])
    assert 500 in await walk(scene.client, app, scene.admin.headers)
    app.state.resources = resources


async def test_a_row_that_another_request_has_just_deleted_is_not_found(
    scene: Scene, app: FastAPI, resources: Resources
) -> None:
    broken: Any = Broken(lambda: NoResultFound(CANARY))
    app.state.resources = replace(resources, sessions=broken, reads=broken)
    answer = await scene.client.get("/api/user/me", headers=scene.alice.headers)
    app.state.resources = resources
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    check(answer)


@pytest.mark.parametrize("make", [lambda: RuntimeError(CANARY), lambda: RuntimeFault(CANARY)], ids=["odd", "engine"])
async def test_an_error_of_the_engine_or_the_mail_server_is_told_to_nobody(
    scene: Scene, worker: TestWorker, runtime: FakeRuntime, make: Callable[[], Exception]
) -> None:
    async def fail(*_: object) -> None:
        raise make()

    class Post:
        host = CANARY

        async def send(self, letter: object, begin: object) -> None:
            raise MailDeferred(CANARY, Stage.SERVER) if isinstance(make(), RuntimeFault) else MailRefused(CANARY)

        async def check(self) -> None:
            raise MailDeferred(CANARY, Stage.SERVER)

    runtime.before = fail
    worker.context = replace(worker.context, mailer=Post())
    await scene.launched()
    await asyncio.wait_for(worker.drain(), PATIENCE)
    # Afterwards: while a deferred mail is queued, a worker waits for its time.
    await scene.client.post("/api/auth/signup", json={"email": "new@example.org"})
    await asyncio.wait_for(worker.drain(), PATIENCE)
    # Logs would be waited for.
    reading = [name for name, one in OPERATIONS.items() if one.method == "GET" and one.who in (USER, PERSON)]
    for name in {*reading, "list_mails", "overview"} - {"container_logs"}:
        answer = await call(scene, name)
        assert not TELLTALE.search(answer.text), (name, answer.text)
    for path in ("/", "/open/alice-hello", "/home/workspaces/hello"):
        answer = await scene.client.get(path, headers={**scene.alice.headers, "Accept": "text/html"})
        assert not TELLTALE.search(answer.text), (path, answer.text)
