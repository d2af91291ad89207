"""Planted secrets go through a whole run and turn up in no log, no problem, no row and no key of Redis."""

import asyncio
import base64
import email
import email.policy
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from fastapi import FastAPI
from sqlalchemy import text

from app.core.db import Base
from app.core.settings.model import Settings
from app.resources import Resources, make_redis
from app.runtime.docker.objects import container_body
from app.runtime.docker.policy import Allowed
from tests.api.conftest import serving
from tests.conftest import TestWorker
from tests.support.emails import text_of
from tests.support.fakes import FakeRuntime
from tests.support.waiting import PATIENCE

PASSWORD = "smtp-password-canary-5c1a"
DATABASE_PASSWORD = "database-password-canary-81fe"
REDIS_PASSWORD = "redis-password-canary-d03b"
TEMPLATE_SECRET = "template-secret-canary-e11c"


@dataclass
class Post:
    """A mail server that wants a password, and refuses it to the first that connects."""

    port: int = 0
    first: Session | None = None
    received: list[Envelope] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        self.received.append(envelope)
        return "250 OK"

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert data.password.decode() == PASSWORD
        self.first = self.first or session
        if session is self.first:
            return AuthResult(success=False, handled=False)
        return AuthResult(success=True)

    async def deliver(self, worker: TestWorker) -> None:
        """Work until the letter has arrived."""
        async with asyncio.timeout(PATIENCE):
            while not self.received:
                await worker.drain()
                await asyncio.sleep(0.1)

    def secrets(self) -> tuple[str, str]:
        """The link's token and the code of the letter."""
        content = self.received[-1].content
        assert isinstance(content, bytes)
        letter = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(letter, EmailMessage)
        text = text_of(letter)
        code = re.search(r"\b[0-9A-Z]{4}-[0-9A-Z]{4}\b", text)
        assert code is not None
        return text.partition("#token=")[2].split()[0], code[0].replace("-", "")


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    """The mail server of this test alone."""
    office = Post()

    def answer() -> SMTP:
        return SMTP(office, hostname="localhost", authenticator=office.authenticate, auth_require_tls=False)

    listener = await asyncio.get_running_loop().create_server(answer, "127.0.0.1", 0)
    async with listener:
        office.port = listener.sockets[0].getsockname()[1]
        yield office


@pytest.fixture
async def settings(settings: Settings, post: Post, tmp_path: Path) -> Settings:
    """With a password for each server, and a secret in the environment of a template."""
    async with make_redis(settings.redis_url) as redis:
        await redis.acl_setuser(
            "canary", enabled=True, passwords=[f"+{REDIS_PASSWORD}"], keys=["*"], channels=["*"], categories=["+@all"]
        )
    templates = yaml.safe_load(settings.catalog.read_text())
    (hello,) = (template for template in templates["templates"] if template["key"] == "hello")
    hello["environment"] = {"API_KEY": TEMPLATE_SECRET}
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump(templates))
    return settings.model_copy(
        update={
            "smtp_url": f"smtp://canary:{PASSWORD}@127.0.0.1:{post.port}",
            "database_url": settings.database_url.replace("postgres@", f"postgres:{DATABASE_PASSWORD}@"),
            "redis_url": settings.redis_url.replace("unix://", f"unix://canary:{REDIS_PASSWORD}@"),
            "catalog": tmp_path / "catalog.yaml",
        }
    )


@pytest.fixture
def logs(app: FastAPI) -> Iterator[io.StringIO]:
    """All that the process logs, as its operator reads it."""
    root = logging.getLogger()
    written = io.StringIO()
    (handler,) = [one for one in root.handlers if type(one) is logging.StreamHandler]
    stream = handler.setStream(written)
    yield written
    handler.setStream(stream)


async def dump_rows(resources: Resources) -> str:
    """Every row of every table, bytes as hex."""
    async with resources.engine.connect() as connection:
        rows = [
            tuple(row)
            for table in Base.metadata.sorted_tables
            for row in await connection.execute(text(f"SELECT * FROM {table.name}"))
        ]
    return "\n".join(" ".join(one.hex() if isinstance(one, bytes) else str(one) for one in row) for row in rows)


async def dump_redis(resources: Resources) -> str:
    """Every key and value, whatever its type."""
    redis: Any = resources.redis
    found = []
    for key in await redis.keys("*"):
        match await redis.type(key):
            case b"string":
                value = await redis.get(key)
            case b"zset":
                value = await redis.zrange(key, 0, -1)
            case b"list":
                value = await redis.lrange(key, 0, -1)
            case b"hash":
                value = await redis.hgetall(key)
            case kind:
                raise AssertionError(f"{key!r} is a {kind!r}")
        found.append(f"{key!r} {value!r}")
    return "\n".join(found)


@dataclass
class Run:
    """One person's way through the service; keeps every problem and what was stored along the way."""

    client: httpx.AsyncClient
    gateway: httpx.AsyncClient
    resources: Resources
    problems: list[str] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)

    async def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        asked = self.gateway if path.startswith("/internal/") else self.client
        answer = await asked.request(method, path, **request)
        if answer.headers.get("Content-Type") == "application/problem+json":
            self.problems.append(f"{answer.text} {answer.headers}")
        self.stored += [await dump_rows(self.resources), await dump_redis(self.resources)]
        return answer

    async def without(self, settings: Settings, away: dict[str, str], bearer: dict[str, str]) -> None:
        """Ask while a part is away, or knows nobody of that name."""
        async with serving(settings.model_copy(update=away)) as client:
            broken = replace(self, client=client)
            await broken.ask("GET", "/api/user/me", headers=bearer)
            await broken.ask("POST", "/api/auth/login", json={"email": "canary@example.org"})

    async def visit(self, uri: str, cookie: str = "") -> httpx.Response:
        """What the proxy asks for a browser at the workspace's origin."""
        headers = {
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Host": "canary-hello.localhost:8080",
            "X-Forwarded-Uri": uri,
        }
        navigation = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html"}
        return await self.ask("POST", "/internal/gateway", headers={**headers, **navigation, "Cookie": cookie})

    async def enter(self, session_cookie: str) -> str:
        """Open the workspace in a browser; returns its cookie."""
        sent = await self.visit("/")
        away = urlsplit(sent.headers["Location"])
        entry = sent.headers["Set-Cookie"].partition(";")[0]
        session = {"Cookie": f"spawner_session={session_cookie}", "Sec-Fetch-Site": "cross-site"}
        back = await self.ask("GET", f"{away.path}?{away.query}", headers={**session, "Sec-Fetch-Mode": "navigate"})
        way_in = urlsplit(back.headers["Location"])
        entered = await self.visit(f"{way_in.path}?{way_in.query}", entry)
        cookie = str(entered.headers["Set-Cookie"].partition(";")[0])
        assert (await self.visit("/", cookie)).headers["X-Upstream"]
        return cookie.partition("=")[2]


async def live(run: Run, settings: Settings, worker: TestWorker, post: Post) -> dict[str, str]:
    """Sign up, work, go wrong in every way; the secrets that were in it, by their names."""
    await run.ask("POST", "/api/auth/signup", json={"email": "canary@example.org"})
    await post.deliver(worker)
    link, code = post.secrets()
    await run.ask("GET", "/api/auth/verify-login", params={"token": f"{link}x"}, headers={"Accept": "application/json"})
    signed_in = await run.ask("POST", "/api/auth/verify", json={"token": link})
    await run.ask("POST", "/api/auth/verify", json={"token": link})
    access, cookie = signed_in.json()["access_token"], run.client.cookies["spawner_session"]
    refresh, browser = (run.client.cookies[f"spawner_{name}"] for name in ("refresh", "browser"))
    run.client.cookies.clear()
    bearer = {"Authorization": f"Bearer {access}"}
    wanted = {"name": "canary", "scopes": ["read"], "days": 1}
    personal = (await run.ask("POST", "/api/auth/tokens", json=wanted, headers=bearer)).json()["token"]
    await run.ask("GET", "/api/user/me", headers={"Authorization": f"Bearer {personal}"})
    await run.ask("POST", "/api/container/launch/hello", headers=bearer)
    await worker.drain()
    workspace = await run.enter(cookie)
    await run.ask("GET", "/api/jobs", params={"before": access}, headers=bearer)
    await run.ask("GET", "/api/nowhere", params={"token": link}, headers=bearer)
    await run.ask("GET", "/api/user/me", headers={"Authorization": f"Bearer {access}x"})
    await run.ask("POST", "/api/auth/verify", content=link.encode(), headers={"Content-Type": "application/json"})
    await run.without(settings, {"database_url": settings.database_url.replace("/spawner?", "/none?")}, bearer)
    await run.without(settings, {"database_url": f"postgresql+asyncpg://a:{DATABASE_PASSWORD}@127.0.0.1:1/a"}, bearer)
    await run.without(settings, {"redis_url": f"redis://a:{REDIS_PASSWORD}@127.0.0.1:1/0"}, bearer)
    await run.without(settings, {"redis_url": settings.redis_url.replace("canary:", "nobody:")}, bearer)
    await run.ask("GET", "/metrics", headers=bearer)
    await run.ask("POST", "/api/auth/logout", headers=bearer)
    await run.ask("GET", "/api/user/me", headers=bearer)
    return {
        "SECRET_KEY": settings.secret_key,
        "the mail server's password": PASSWORD,
        "the database's password": DATABASE_PASSWORD,
        "the password of Redis": REDIS_PASSWORD,
        "the template's secret": TEMPLATE_SECRET,
        "the link's token": link,
        "the code": code,
        "the session's cookie": cookie,
        "the refresh token": refresh,
        "the browser's cookie": browser.partition(".")[0],
        "the access token": access,
        "a personal token": personal,
        "the workspace's cookie": workspace,
    }


async def test_no_secret_turns_up_where_it_does_not_belong(
    client: httpx.AsyncClient,
    gateway_client: httpx.AsyncClient,
    resources: Resources,
    settings: Settings,
    worker: TestWorker,
    post: Post,
    runtime: FakeRuntime,
    logs: io.StringIO,
) -> None:
    run = Run(client, gateway_client, resources)
    secrets = await live(run, settings, worker, post)
    statuses = [json.loads(one.partition(" Headers(")[0])["status"] for one in run.problems]
    away = [503, 503]
    assert statuses == [400, 400, 400, 404, 401, 400, *away, *away, 503, 503, 404, 401]
    assert "mail_deferred" in logs.getvalue()
    (container,) = runtime.containers.values()
    # A container gets what its template says, and nothing of the platform's.
    assert container.environment["API_KEY"] == TEMPLATE_SECRET
    own = {key: value for key, value in container.environment.items() if key != "API_KEY"}
    places = {
        "the logs": logs.getvalue(),
        "a problem": "".join(run.problems),
        "storage": "".join(run.stored),
        # As an inspection, and /proc in the container, would show it.
        "the container": f"{container_body(replace(container, environment=own), Allowed(), publish=True)}",
    }
    assert "canary@example.org" in places["storage"]
    for name, secret in secrets.items():
        assert len(secret) > 20 or name == "the code"
        for place, said in places.items():
            for form in (secret, secret.encode().hex(), base64.b64encode(secret.encode()).decode()):
                assert form not in said, f"{name} stands in {place}"
