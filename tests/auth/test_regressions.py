"""What hurt the users of systems like this one, each named after what it prevents here."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import ColumnElement, func, select, update
from starlette.applications import Starlette

from app.accounts.emails import normalise
from app.accounts.errors import InvalidAddress
from app.accounts.session_cookies import access_name
from app.core.db import Base
from app.core.settings.model import Settings
from app.models import Bootstrap, Job, LinkRequest, MagicLink, Session, User, UserState, Workspace, WorkspaceCookie
from app.models import WorkspaceStatus as Status
from app.resources import Resources
from app.security.tokens import new_token
from tests.api.conftest import serving
from tests.support.crowd import crowd, persist
from tests.support.factories import make_link, make_user, sign_in

Client = httpx.AsyncClient
TYPES = ("hello", "jupyter")


@pytest.fixture
async def processes(settings: Settings, resources: Resources) -> AsyncIterator[list[Client]]:
    """Several processes of the API, with connections of their own."""
    async with AsyncExitStack() as exits:
        yield [await exits.enter_async_context(serving(settings)) for _ in range(2)]


async def at_once(processes: list[Client], count: int, method: str, path: str, **request: Any) -> Counter[int]:
    """The same request many times at once, spread over the processes; how many were answered how."""
    among = itertools.islice(itertools.cycle(processes), count)
    calls = (one.request(method, path, **request) for one in among)
    return Counter(answer.status_code for answer in await crowd(calls))


async def verify(client: Client, token: str) -> httpx.Response:
    return await client.post("/api/auth/verify", json={"token": token})


async def count(resources: Resources, table: type[Base], *where: ColumnElement[bool]) -> int:
    async with resources.sessions() as session:
        return await session.scalar(select(func.count()).select_from(table).where(*where)) or 0


class TestLimitsOverrunByParallelRequests:
    async def test_of_links(self, processes: list[Client], resources: Resources) -> None:
        answers = await at_once(processes, 60, "POST", "/api/auth/login", json={"email": "alice@example.org"})
        # Where Redis cannot keep up, nobody is let through.
        assert answers[200] == 3
        assert answers[429] + answers[503] == 57
        assert await count(resources, LinkRequest, ~LinkRequest.renewal) == 3

    async def test_of_workspaces(self, processes: list[Client], resources: Resources) -> None:
        alice = await sign_in(resources)
        async with resources.unit_of_work() as session:
            await session.execute(update(User).values(running_limit=1))
        ask = [at_once(processes, 10, "POST", f"/api/container/launch/{one}", headers=alice.headers) for one in TYPES]
        await asyncio.gather(*ask)
        assert await count(resources, Workspace, Workspace.status != Status.NOT_CREATED) == 1


@pytest.mark.parametrize("path", ["/api/auth/verify-login", "/api/auth/verify-signup", "/api/auth/verify"])
async def test_mail_scanners_spend_the_link(client: Client, resources: Resources, path: str) -> None:
    token = await make_link(resources, await make_user(resources))
    scanners = [
        {"Accept": "text/html,*/*;q=0.8", "User-Agent": "Mozilla/5.0"},
        {"Sec-Fetch-Mode": "navigate", "Sec-Purpose": "prefetch"},
        {"Accept": "text/html", "Purpose": "preview"},
    ]
    for headers in scanners:
        for method in ("HEAD", "GET", "OPTIONS"):
            await client.request(method, path, params={"token": token}, headers=headers)
            await client.request(method, "/auth/confirm", headers=headers)
    await client.head(path, params={"token": token})
    assert await count(resources, MagicLink, MagicLink.spent_at.is_(None)) == 1
    assert (await client.post("/api/auth/verify", json={"token": token})).status_code == 200


async def test_two_requests_spend_one_token(processes: list[Client], resources: Resources) -> None:
    token = await make_link(resources, await make_user(resources))
    among = itertools.islice(itertools.cycle(processes), 16)
    answers = await crowd(persist(partial(verify, one, token)) for one in among)
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: 15}
    assert await count(resources, Session) == 1
    assert await count(resources, Job) == 1


async def test_several_admins_from_a_race(processes: list[Client], resources: Resources) -> None:
    users = [await make_user(resources, f"user{i}", state=UserState.REGISTERED) for i in range(30)]
    tokens = [await make_link(resources, user) for user in users]
    among = zip(itertools.cycle(processes), tokens, strict=False)
    answers = await crowd(persist(partial(verify, one, token)) for one, token in among)
    assert {answer.status_code for answer in answers} == {200}
    admins = [answer.json()["user"]["id"] for answer in answers if answer.json()["user"]["is_admin"]]
    async with resources.sessions() as session:
        assert [str(user_id) for user_id in await session.scalars(select(User.id).where(User.is_admin))] == admins
        assert [str(user_id) for user_id in await session.scalars(select(Bootstrap.user_id))] == admins
    assert len(admins) == 1


class TestLookAlikeAddresses:
    @pytest.mark.parametrize(
        "raw",
        [
            # CVE-2022-35924: a list, of which the check sees one end and the mail server both.
            "mallory@evil.example,alice@example.org",
            "mallory@evil.example;alice@example.org",
            "mallory@evil.example alice@example.org",
            "mallory@evil.example\r\nTo: alice@example.org",
            # GHSA-5jpx-9hw9-2fx4: a quoted local part that holds an address of its own.
            '"mallory@evil.example"@example.org',
            '"mallory@evil.example x"@example.org',
            "mallory@evil.example(x)@example.org",
            "alice@example.org(x)evil.example",
            "<mallory@evil.example>@example.org",
            # CVE-2026-73420: signs that become such a list or address once something normalises them.
            "mallory@evil.example，alice@example.org",
            "mallory＠evil.example@example.org",
            "mallory﹫evil.example@example.org",
            "＂mallory@evil.example＂@example.org",
            "mallory@evil.example︐alice@example.org",
            "mallory@evil.example\uff1balice@example.org",
            "mallory@evil.example\u2028alice@example.org",
        ],
    )
    async def test_are_refused(self, client: Client, resources: Resources, raw: str) -> None:
        with pytest.raises(InvalidAddress):
            normalise(raw)
        answer = await client.post("/api/auth/signup", json={"email": raw})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "invalid_email")
        assert await count(resources, LinkRequest) == 0

    @pytest.mark.parametrize(
        "raw", ["ALICE@EXAMPLE.ORG", "ａｌｉｃｅ@ｅｘａｍｐｌｅ．ｏｒｇ", "ⓐlice@example.org", "alıce@example.org"]
    )
    async def test_have_no_account_beside_the_one_they_look_like(self, raw: str) -> None:
        # A dotless i is another letter, in every case.
        assert (normalise(raw) == "alice@example.org") == ("ı" not in raw)
        assert normalise(raw) == normalise(normalise(raw).upper()) or "ı" in raw


class TestTrustedHeaderSpoofing:
    claims = {
        **dict.fromkeys(("X-Spawner-User", "X_Spawner_User", "X-Forwarded-User", "X-Forwarded-Email"), "alice"),
        **dict.fromkeys(
            ("X-Remote-User", "Remote-User", "X-Auth-Request-User", "X-Forwarded-Preferred-Username"), "alice"
        ),
        "X-Original-URL": "/livez",
        "X-Rewrite-URL": "/livez",
        "X-HTTP-Method-Override": "GET",
    }

    async def test_signs_nobody_in(self, client: Client, resources: Resources) -> None:
        await sign_in(resources, await make_user(resources, is_admin=True))
        for path in ("/api/user/me", "/api/admin/users", "/api/container/status"):
            spoofed = {**self.claims, "X-Forwarded-Uri": "/livez", "X-Forwarded-Host": "localhost:8080"}
            assert (await client.get(path, headers=spoofed)).status_code == 401

    async def test_moves_no_client(self, settings: Settings, resources: Resources) -> None:
        headers = dict.fromkeys(("X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP"), "203.0.113.9")
        headers |= {"Forwarded": "for=203.0.113.9", "X_Forwarded_For": "203.0.113.9"}
        token = await make_link(resources, await make_user(resources))
        async with serving(settings, client="192.0.2.1") as client:
            assert (await client.post("/api/auth/verify", json={"token": token}, headers=headers)).status_code == 200
        async with resources.sessions() as session:
            assert (await session.scalars(select(Session.address))).one() == "192.0.2.1"


class TestSharedOriginsLeakCookies:
    sibling = "http://alice-hello.localhost:8080"

    def test_workspaces_never_share_the_pages_origin(self) -> None:
        with pytest.raises(ValueError, match="must not share the origin"):
            Settings(
                _env_file=None,
                secret_key="a-secret-for-tests-0123456789-abcdefghij",
                public_url="https://spawner.example.org",
                workspace_url="https://SPAWNER.example.org/{route}",
            )

    def test_over_tls_no_sibling_can_plant_the_pages_cookie(self, settings: Settings) -> None:
        # Browsers take a cookie of this name from its very host alone, and over TLS.
        secure = settings.model_copy(update={"public_url": "https://spawner.example.org"})
        assert access_name(secure).startswith("__Host-")

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": sibling, "Sec-Fetch-Site": "cross-site"},
            {"Origin": sibling, "Sec-Fetch-Site": "same-site"},
            {"Origin": sibling},
            {"Origin": "null"},
            {},
        ],
        ids=str,
    )
    async def test_a_workspaces_page_cannot_ride_on_the_pages_cookie(
        self, client: Client, resources: Resources, headers: dict[str, str]
    ) -> None:
        alice = await sign_in(resources)
        client.cookies.update(alice.cookies)
        for path in ("/api/container/launch/hello", "/api/auth/logout", "/sign-out"):
            assert (await client.post(path, headers=headers)).status_code == 403
        assert (await client.get("/api/user/me")).status_code == 200

    @pytest.mark.parametrize("origin", [None, "null", "http://localhost:8080", "http://bob-hello.localhost:8080"])
    async def test_no_other_page_opens_a_websocket_with_the_workspaces_cookie(
        self, gateway: Starlette, gateway_client: Client, resources: Resources, origin: str | None
    ) -> None:
        alice, value = await sign_in(resources), new_token()
        workspace = Workspace(user_id=alice.user.id, template="hello", status=Status.RUNNING, host="127.0.0.1", port=1)
        async with resources.unit_of_work() as session:
            session.add(workspace)
            await session.flush()
            key = resources.tokens.hash("workspace", value)
            session.add(WorkspaceCookie(token_hash=key, session_id=alice.session.id, workspace_id=workspace.id))
        asked = {
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Host": "alice-hello.localhost:8080",
            "X-Forwarded-Uri": "/socket",
            "X-Forwarded-Upgrade": "websocket",
            "Cookie": f"spawner_workspace={value}",
        }
        own = await gateway_client.get("/internal/gateway", headers={**asked, "Origin": self.sibling})
        assert (own.status_code, own.headers["X-Upstream"]) == (200, gateway.state.relay.address)
        other = await gateway_client.get(
            "/internal/gateway", headers={**asked, **({"Origin": origin} if origin else {})}
        )
        assert other.status_code == 403
        assert "X-Upstream" not in other.headers
