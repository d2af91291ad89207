"""Spending links, over HTTP."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from app.core.settings.model import Settings
from app.models import AuditEntry, MagicLink, Session, User, UserState, utcnow
from app.resources import Resources
from tests.api.conftest import serving
from tests.conftest import TestWorker
from tests.support.clocks import Time
from tests.support.factories import make_link, make_user

OURS = "http://localhost:8080"
NAVIGATIONS: list[dict[str, str]] = [
    {"Sec-Fetch-Mode": "navigate"},
    {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
    {"Accept": "text/html"},
    {"Accept": "application/json;q=0.5, text/html;level=1;q=0.7"},
    {"Accept": "application/json", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
]
PROGRAMS: list[dict[str, str]] = [
    {"Accept": "application/json"},
    {"Accept": "application/json, text/plain, */*"},
    {"Accept": "text/html;q=0.1, application/json"},
    {"Accept": "text/html;level=1;q=0.3, application/json;q=0.5"},
    {"Accept": "application/json;q=good;q=0.1, text/html"},
    {"Accept": "application/json, text/html", "Sec-Fetch-Mode": "cors"},
    {"Accept": "application/json", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty", "Origin": OURS},
]
JSON = {"Accept": "application/json"}
# What loads an address without anybody having asked for JSON by name, or for another site's page.
SPENDS_NOTHING: list[tuple[int, dict[str, str]]] = [
    (406, {}),
    (406, {"Accept": "*/*"}),
    (406, {"Accept": "application/*"}),
    (406, {"Accept": "application/json;q=0, */*"}),
    (406, {"Accept": "image/avif,image/webp,*/*;q=0.8"}),
    (403, {"Accept": "*/*", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
    (403, {**JSON, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}),
    (403, {**JSON, "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}),
    (403, {**JSON, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
    (403, {**JSON, "Origin": "https://evil.example"}),
    (403, {**JSON, "Origin": "null"}),
]
FOREIGN_PAGES: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://alice-hello.localhost:8080"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site", "Origin": OURS},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
]


async def spend(client: httpx.AsyncClient, token: str, **headers: str) -> httpx.Response:
    return await client.post("/api/auth/verify", json={"token": token}, headers=headers)


async def unspent(resources: Resources) -> int:
    async with resources.sessions() as session:
        return await session.scalar(select(func.count()).where(MagicLink.spent_at.is_(None))) or 0


async def reload(resources: Resources, user: User) -> User:
    async with resources.sessions() as session:
        return await session.get_one(User, user.id)


async def test_a_link_signs_in_and_launches_the_default_workspace(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    user = await make_user(resources, state=UserState.REGISTERED)
    answer = await spend(client, await make_link(resources, user), **{"User-Agent": "Test/1.0"})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "user", "job"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    assert body["user"] == {
        "id": str(user.id),
        "email": user.email,
        "slug": user.slug,
        "is_admin": True,
        "state": "verified",
        "container_id": None,
    }
    assert (body["job"]["kind"], body["job"]["state"]) == ("launch", "queued")
    assert body["job"]["type"] == resources.catalog.default.key
    assert (await reload(resources, user)).last_used is not None
    async with resources.sessions() as session:
        row = (await session.scalars(select(Session))).one()
    assert (row.user_agent, row.address) == ("Test/1.0", "127.0.0.1")


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    answer = await spend(client, await make_link(resources, await make_user(resources)))
    browser, access, refresh = answer.headers.get_list("set-cookie")
    assert browser.startswith("spawner_browser=")
    assert access.startswith("spawner_session=")
    assert "Max-Age=900;" in access
    assert refresh.startswith("spawner_refresh=")
    assert "Max-Age=43200;" in refresh
    for cookie in (browser, access, refresh):
        for attribute in ("HttpOnly", "SameSite=lax", "Path=/"):
            assert attribute in cookie
        assert "Secure" not in cookie
    me = await client.get("/api/user/me")
    assert me.status_code == 200


async def test_a_later_sign_in_makes_sure_of_the_default_workspace_and_keeps_the_state(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker
) -> None:
    user = await make_user(resources, state=UserState.ACTIVE)
    first = await spend(client, await make_link(resources, user))
    assert first.json()["user"]["state"] == "active"
    assert not first.json()["user"]["is_admin"]
    await worker.drain()
    second = await spend(client, await make_link(resources, user))
    assert second.json()["user"]["container_id"]


@pytest.mark.parametrize("path", ["/api/auth/verify-signup", "/api/auth/verify-login"])
@pytest.mark.parametrize("headers", PROGRAMS, ids=str)
async def test_a_program_spends_a_link_by_get(
    client: httpx.AsyncClient, resources: Resources, path: str, headers: dict[str, str]
) -> None:
    token = await make_link(resources, await make_user(resources))
    answer = await client.get(path, params={"token": token}, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["access_token"]
    assert "set-cookie" not in answer.headers
    assert (await client.get(path, params={"token": token}, headers=headers)).status_code == 400


@pytest.mark.parametrize("path", ["/api/auth/verify-signup", "/api/auth/verify-login"])
@pytest.mark.parametrize("headers", NAVIGATIONS, ids=str)
async def test_a_navigation_goes_to_the_confirm_page_and_spends_nothing(
    client: httpx.AsyncClient, resources: Resources, path: str, headers: dict[str, str]
) -> None:
    token = await make_link(resources, await make_user(resources))
    answer = await client.get(path, params={"token": token}, headers=headers)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"http://localhost:8080/auth/confirm#token={token}"
    assert await unspent(resources) == 1


@pytest.mark.parametrize("path", ["/api/auth/verify-signup", "/api/auth/verify-login"])
@pytest.mark.parametrize(("status", "headers"), SPENDS_NOTHING, ids=str)
async def test_nothing_but_a_program_that_asks_for_json_spends_a_link_by_get(
    client: httpx.AsyncClient, resources: Resources, path: str, status: int, headers: dict[str, str]
) -> None:
    token = await make_link(resources, await make_user(resources))
    without = {"Accept": ""} if "Accept" not in headers else {}
    answer = await client.get(path, params={"token": token}, headers={**without, **headers})
    assert (answer.status_code, await unspent(resources)) == (status, 1)
    assert answer.json()["code"] == ("not_acceptable" if status == 406 else "cross_site")


@pytest.mark.parametrize("headers", FOREIGN_PAGES, ids=str)
async def test_no_page_of_another_site_signs_a_browser_in_or_asks_for_links(
    client: httpx.AsyncClient, resources: Resources, headers: dict[str, str]
) -> None:
    token = await make_link(resources, await make_user(resources))
    for path, body in (
        ("verify", {"token": token}),
        ("verify-code", {"code": "7K2M-Q9XD"}),
        ("link", {"token": token}),
        ("signup", {"email": "alice@example.org"}),
        ("login", {"email": "alice@example.org"}),
    ):
        answer = await client.post(f"/api/auth/{path}", json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site"), path
        assert "set-cookie" not in answer.headers
    assert await unspent(resources) == 1


async def test_a_page_of_a_listed_origin_may_sign_in(settings: Settings, resources: Resources) -> None:
    listed = "https://app.example.org"
    token = await make_link(resources, await make_user(resources))
    headers = {"Origin": listed, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    async with serving(settings.model_copy(update={"cors_origins": [listed]})) as client:
        two = [("Origin", listed), ("Origin", "https://evil.example")]
        assert (await client.post("/api/auth/verify", json={"token": token}, headers=two)).status_code == 403
        assert (await spend(client, token, **headers)).status_code == 200


async def test_a_navigation_cannot_be_led_elsewhere(client: httpx.AsyncClient, resources: Resources) -> None:
    answer = await client.get(
        "/api/auth/verify-login", params={"token": "x\r\nSet-Cookie: a=b#//evil"}, headers={"Accept": "text/html"}
    )
    assert answer.headers["location"].startswith("http://localhost:8080/auth/confirm#token=x%0D%0A")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("token", ["x", "\x00", "é" * 200, "../..", "\u2028"])
async def test_an_unknown_token_is_an_invalid_link(client: httpx.AsyncClient, token: str) -> None:
    answer = await spend(client, token)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_link")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"token": ""}',
        b'{"token": 7}',
        b"[]",
        b"not json",
        b'{"token": "\\ud800"}',
        b'{"token":"%s"}' % (b"a" * 201),
    ],
)
async def test_a_malformed_request_is_invalid(client: httpx.AsyncClient, content: bytes) -> None:
    answer = await client.post("/api/auth/verify", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.json()["errors"]


async def test_a_body_that_is_not_declared_json_is_refused(client: httpx.AsyncClient, resources: Resources) -> None:
    token = await make_link(resources, await make_user(resources))
    for headers in ({}, {"Content-Type": "text/plain"}):
        answer = await client.post("/api/auth/verify", content=f'{{"token":"{token}"}}'.encode(), headers=headers)
        assert answer.status_code == 400
    assert await unspent(resources) == 1


async def test_an_expired_link_is_invalid(client: httpx.AsyncClient, resources: Resources) -> None:
    token = await make_link(resources, await make_user(resources), seconds=-1)
    assert (await spend(client, token)).json()["code"] == "invalid_link"


async def test_a_blocked_account_is_refused_and_keeps_its_link(client: httpx.AsyncClient, resources: Resources) -> None:
    user = await make_user(resources)
    token = await make_link(resources, user)
    await set_blocked(resources, user, True)
    answer = await spend(client, token)
    assert (answer.status_code, answer.json()["code"]) == (403, "blocked")
    assert await unspent(resources) == 1
    await set_blocked(resources, user, False)
    assert (await spend(client, token)).status_code == 200


async def test_a_blocked_account_that_tries_in_a_loop_leaves_one_row_a_minute(
    client: httpx.AsyncClient, resources: Resources, time: Time
) -> None:
    user = await make_user(resources)
    token = await make_link(resources, user)
    await set_blocked(resources, user, True)
    for seconds in (0, 61):
        time.pass_(seconds=seconds)
        answers = await asyncio.gather(*(spend(client, token) for _ in range(5)))
        assert {answer.status_code for answer in answers} == {403}
    async with resources.reads() as session:
        outcomes = (await session.scalars(select(AuditEntry.outcome))).all()
    assert outcomes == ["blocked"] * 2


async def set_blocked(resources: Resources, user: User, blocked: bool) -> None:
    async with resources.unit_of_work() as session:
        await session.execute(update(User).where(User.id == user.id).values(blocked_at=utcnow() if blocked else None))


async def test_using_a_link_ends_its_siblings(client: httpx.AsyncClient, resources: Resources) -> None:
    user, other = await make_user(resources), await make_user(resources, "bob")
    tokens = [await make_link(resources, user) for _ in range(3)]
    foreign = await make_link(resources, other)
    assert (await spend(client, tokens[1])).status_code == 200
    assert {(await spend(client, token)).status_code for token in tokens} == {400}
    assert (await spend(client, foreign)).status_code == 200


async def test_siblings_spent_at_once_sign_in_once(client: httpx.AsyncClient, resources: Resources) -> None:
    for round_ in range(8):
        user = await make_user(resources, f"user{round_}")
        tokens = [await make_link(resources, user) for _ in range(2)]
        answers = await asyncio.gather(*(spend(client, token) for token in tokens * 2))
        assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]


async def test_logout_holds_at_the_next_request(client: httpx.AsyncClient, resources: Resources) -> None:
    user = await make_user(resources)
    signed_in = (await spend(client, await make_link(resources, user))).json()
    cookie = client.cookies["spawner_session"]
    token = await make_link(resources, user)
    other = (await client.get("/api/auth/verify-login", params={"token": token}, headers=JSON)).json()
    bearer = {"Authorization": f"Bearer {signed_in['access_token']}"}
    answer = await client.post("/api/auth/logout", headers=bearer)
    assert answer.status_code == 200
    assert answer.json() == {"message": "You are signed out."}
    assert 'spawner_session=""' in answer.headers["set-cookie"]
    refused = await client.get("/api/user/me", headers=bearer)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert (await client.get("/api/user/me", headers={"Cookie": f"spawner_session={cookie}"})).status_code == 401
    assert (await client.post("/api/auth/logout", headers=bearer)).status_code == 401
    still = await client.get("/api/user/me", headers={"Authorization": f"Bearer {other['access_token']}"})
    assert still.status_code == 200


async def test_a_cookie_signs_out_from_our_own_pages_only(client: httpx.AsyncClient, resources: Resources) -> None:
    await spend(client, await make_link(resources, await make_user(resources)))
    strange: list[dict[str, str]] = [
        {},
        {"Origin": "http://alice-hello.localhost:8080"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:8080"},
    ]
    for headers in strange:
        answer = await client.post("/api/auth/logout", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    assert (await client.post("/api/auth/logout", headers={"Sec-Fetch-Site": "same-origin"})).status_code == 200


@pytest.mark.parametrize("change", ["block", "expire", "delete"])
async def test_a_session_ends_with_what_it_stands_on(
    client: httpx.AsyncClient, resources: Resources, change: str
) -> None:
    user = await make_user(resources)
    body = (await spend(client, await make_link(resources, user))).json()
    bearer = {"Authorization": f"Bearer {body['access_token']}"}
    assert (await client.get("/api/user/me", headers=bearer)).status_code == 200
    if change == "block":
        await set_blocked(resources, user, True)
    async with resources.unit_of_work() as session:
        if change == "expire":
            await session.execute(update(Session).values(expires_at=utcnow() - timedelta(seconds=1)))
        if change == "delete":
            await session.delete(await session.get_one(User, user.id))
    assert (await client.get("/api/user/me", headers=bearer)).status_code == 401
    assert (await client.get("/api/user/me")).status_code == 401


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer junk", "Basic YTpi", "bearer a.b.c", "Token x"])
async def test_other_credentials_are_refused(client: httpx.AsyncClient, value: str) -> None:
    answer = await client.get("/api/user/me", headers={"Authorization": value})
    assert answer.status_code == 401


async def test_an_access_token_of_another_user_for_this_session_is_refused(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    alice, bob = await make_user(resources), await make_user(resources, "bob")
    await spend(client, await make_link(resources, alice))
    client.cookies.clear()
    async with resources.sessions() as session:
        row = (await session.scalars(select(Session))).one()
    forged = resources.tokens.issue(bob.id, row.id, is_admin=True)
    answer = await client.get("/api/user/me", headers={"Authorization": f"Bearer {forged}"})
    assert answer.status_code == 401


async def test_no_secret_is_stored_in_clear(client: httpx.AsyncClient, resources: Resources) -> None:
    token = await make_link(resources, await make_user(resources))
    body: dict[str, Any] = (await spend(client, token)).json()
    cookie, refresh = client.cookies["spawner_session"], client.cookies["spawner_refresh"]
    async with resources.sessions() as session:
        rows = [
            *(await session.execute(select(*MagicLink.__table__.columns))).all(),
            *(await session.execute(select(*Session.__table__.columns))).all(),
        ]
    stored = "".join(bytes(value).hex() if isinstance(value, bytes) else str(value) for row in rows for value in row)
    for secret in (token, cookie, refresh, body["access_token"]):
        assert secret not in stored
        assert secret.encode().hex() not in stored
