"""What is around every answer: ids, headers, languages, origins, and the errors that nobody expected."""

import logging
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from app.core.settings.model import Settings
from app.models import Session
from app.resources import Resources
from tests.api.conftest import NO_DATABASE, NO_REDIS, Scene, serving
from tests.api.operations import OPERATIONS, PLACES, send_good
from tests.support.factories import SignedIn, make_link, make_user

SECRET = "the-text-of-the-exception"


@pytest.fixture
def crashing(app: FastAPI) -> None:
    """Adds a route that fails as nobody expected."""

    @app.get("/api/crash")
    async def crash() -> None:
        raise RuntimeError(SECRET)


@pytest.fixture
def logged(app: FastAPI) -> Iterator[list[str]]:
    """What the app's own handler writes."""
    lines: list[str] = []
    handler = logging.getLogger().handlers[0]

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(handler.format(record))

    keep = Keep()
    logging.getLogger().addHandler(keep)
    yield lines
    logging.getLogger().removeHandler(keep)


async def test_each_request_has_an_id_of_its_own_whatever_the_client_sends(client: httpx.AsyncClient) -> None:
    ids = [(await client.get("/livez", headers={"X-Request-ID": "mine"})).headers["X-Request-ID"] for _ in range(3)]
    assert len({*ids, "mine"}) == 4


@pytest.mark.parametrize(("language", "title"), [("en", "Not found"), ("de, en;q=0.5", "Nicht gefunden")])
async def test_an_unknown_address_is_a_problem(client: httpx.AsyncClient, language: str, title: str) -> None:
    for path in ("/api/nowhere", "/nowhere", "/api/container/launch", "/api/auth/verify/x", "/internal/nowhere"):
        answer = await client.get(path, headers={"Accept-Language": language})
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert (answer.json()["code"], answer.json()["title"]) == ("not_found", title)
        assert answer.json()["request_id"] == answer.headers["X-Request-ID"]


async def test_a_method_that_an_address_does_not_know_is_a_problem_that_names_those_it_knows(
    client: httpx.AsyncClient,
) -> None:
    for path in {one.path for one in OPERATIONS.values()}:
        known = {one.method for one in OPERATIONS.values() if one.path == path}
        for other in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"} - known:
            answer = await client.request(other, path.format_map(PLACES))
            assert answer.status_code == 405, (other, path)
            assert set(answer.headers["Allow"].split(", ")) == known
            assert answer.headers["Content-Type"] == "application/problem+json"
            if other == "HEAD":
                assert answer.content == b""
            else:
                assert answer.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize("language", ["en", "de"])
async def test_a_crash_is_logged_and_answered_without_its_text(
    client: httpx.AsyncClient, crashing: None, logged: list[str], language: str
) -> None:
    answer = await client.get("/api/crash", headers={"Accept-Language": language})
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["code"] == "internal"
    assert body["title"] == {"en": "Something went wrong", "de": "Etwas ist schiefgegangen"}[language]
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert SECRET not in answer.text
    (line,) = [line for line in logged if "unhandled" in line]
    assert SECRET in line
    assert body["request_id"] in line
    assert any("status" in line and "500" in line for line in logged if body["request_id"] in line)


async def test_a_database_that_refuses_is_unavailable_not_a_crash(settings: Settings, alice: SignedIn) -> None:
    missing = settings.database_url.replace("/spawner?", "/nosuchdatabase?")
    assert missing != settings.database_url
    async with serving(settings.model_copy(update={"database_url": missing})) as client:
        answer = await client.get("/api/user/me", headers=alice.headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["Retry-After"] == "5"


async def test_without_redis_only_links_and_logs_are_unavailable(settings: Settings, scene: Scene) -> None:
    async with serving(settings.model_copy(update={"redis_url": NO_REDIS})) as client:
        for name in OPERATIONS:
            if name in ("readyz", "logout"):
                continue
            answer = await send_good(scene, name, await scene.link(), client=client, own=scene.alice.headers)
            assert (answer.status_code == 503) == (name in ("signup", "login", "container_logs")), (name, answer.text)
            assert (answer.headers.get("Retry-After") == "5") == (answer.status_code == 503)


class TestCors:
    ours = "https://app.example.org"
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}

    @pytest.fixture
    async def allowing(self, settings: Settings, resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
        async with serving(settings.model_copy(update={"cors_origins": [self.ours]})) as client:
            yield client

    async def test_no_origin_may_read_answers_unless_it_is_set(self, client: httpx.AsyncClient) -> None:
        asked = await client.get("/livez", headers={"Origin": self.ours})
        assert not [name for name in asked.headers if name.startswith("access-control")]
        refused = await client.options("/api/user/me", headers={"Origin": self.ours, **self.preflight})
        assert refused.status_code == 405
        assert not [name for name in refused.headers if name.startswith("access-control")]

    @pytest.mark.parametrize(
        "origin",
        ["http://app.example.org", "https://app.example.org.evil.org", "https://app.example.org:8443", "null"],
    )
    async def test_origins_are_exact(self, allowing: httpx.AsyncClient, origin: str) -> None:
        answer = await allowing.get("/livez", headers={"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers
        refused = await allowing.options("/livez", headers={"Origin": origin, **self.preflight})
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers

    async def test_an_origin_that_is_set_may_call(self, allowing: httpx.AsyncClient) -> None:
        headers = {"Origin": self.ours}
        allowed = await allowing.options("/api/container/restart", headers={**headers, **self.preflight})
        assert allowed.status_code == 200
        assert allowed.headers["Access-Control-Allow-Origin"] == self.ours
        assert "access-control-allow-credentials" not in allowed.headers
        assert allowed.headers["X-Request-ID"]
        answer = await allowing.get("/api/user/me", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["Access-Control-Allow-Origin"] == self.ours
        assert "Origin" in answer.headers["Vary"]

    async def test_an_origin_that_is_set_may_read_errors_too(self, settings: Settings, alice: SignedIn) -> None:
        away = settings.model_copy(update={"cors_origins": [self.ours], "database_url": NO_DATABASE})
        async with serving(away) as client:
            answer = await client.get("/api/user/me", headers={"Origin": self.ours, **alice.headers})
        assert answer.status_code == 503
        assert answer.headers["Access-Control-Allow-Origin"] == self.ours


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "seen"),
    [
        ([], "192.0.2.1", "203.0.113.9", "192.0.2.1"),
        (["192.0.2.1"], "192.0.2.2", "203.0.113.9", "192.0.2.2"),
        (["192.0.2.1"], "192.0.2.1", "203.0.113.9", "203.0.113.9"),
        (["192.0.2.1"], "192.0.2.1", "10.0.0.1, 203.0.113.9", "203.0.113.9"),
        (["192.0.2.0/24"], "192.0.2.1", "198.51.100.7, 203.0.113.9, 192.0.2.77", "203.0.113.9"),
        (["192.0.2.1"], "192.0.2.1", "", "192.0.2.1"),
    ],
)
async def test_the_client_is_the_rightmost_address_that_is_no_trusted_proxy(
    settings: Settings, resources: Resources, trusted: list[str], peer: str, forwarded: str, seen: str
) -> None:
    token = await make_link(resources, await make_user(resources))
    async with serving(settings.model_copy(update={"trusted_proxies": trusted}), client=peer) as client:
        headers = {"X-Forwarded-For": forwarded} if forwarded else {}
        await client.post("/api/auth/verify", json={"token": token}, headers=headers)
    async with resources.sessions() as session:
        assert (await session.scalars(select(Session))).one().address == seen
