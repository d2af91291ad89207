"""Whose pages may act for a visitor, whose may read, and what browsers are told of every cookie."""

from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import ValidationError

from app.core.settings.model import Settings
from app.models import Workspace, WorkspaceStatus
from app.resources import Resources
from tests.api.conftest import serving
from tests.support.factories import SignedIn, make_link, make_user, sign_in
from tests.support.gate import gateway_of

OURS = "http://localhost:8080"
Headers = list[tuple[str, str]]

REFUSED: dict[str, Headers] = {
    "neither": [],
    "null": [("Origin", "null")],
    "empty": [("Origin", "")],
    "empty site": [("Sec-Fetch-Site", "")],
    "same-site": [("Sec-Fetch-Site", "same-site")],
    "same-site, our Origin": [("Sec-Fetch-Site", "same-site"), ("Origin", OURS)],
    "cross-site": [("Sec-Fetch-Site", "cross-site")],
    "none": [("Sec-Fetch-Site", "none")],
    "same-origin, another's Origin": [
        ("Sec-Fetch-Site", "same-origin"),
        ("Origin", "http://alice-hello.localhost:8080"),
    ],
    "same-origin, null": [("Sec-Fetch-Site", "same-origin"), ("Origin", "null")],
    "workspaces": [("Origin", "http://alice-hello.localhost:8080")],
    "another port": [("Origin", "http://localhost:8081")],
    "no port": [("Origin", "http://localhost")],
    "another scheme": [("Origin", "https://localhost:8080")],
    "a path": [("Origin", f"{OURS}/")],
    "ours within": [("Origin", "http://localhost:8080.evil.example.org")],
    "ours at the end": [("Origin", "http://evil.localhost:8080")],
    "capitals": [("Origin", "http://LOCALHOST:8080")],
    "two, ours first": [("Origin", OURS), ("Origin", "https://evil.example.org")],
    "two, ours last": [("Origin", "https://evil.example.org"), ("Origin", OURS)],
    "two in one": [("Origin", f"{OURS}, https://evil.example.org")],
    "two sites": [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
    "Referer alone": [("Referer", f"{OURS}/")],
}
ALLOWED: dict[str, Headers] = {
    "same-origin": [("Sec-Fetch-Site", "same-origin")],
    "our Origin": [("Origin", OURS)],
    "both": [("Sec-Fetch-Site", "same-origin"), ("Origin", OURS)],
}
UNSAFE = [
    ("POST", "/api/auth/logout"),
    ("DELETE", "/api/auth/sessions"),
    ("POST", "/api/auth/refresh"),
    ("POST", "/account/sessions/end"),
    ("POST", "/sign-out"),
]


async def test_nothing_is_changed_by_cookie_from_another_origin(client: httpx.AsyncClient, alice: SignedIn) -> None:
    cookie = ("Cookie", "; ".join(f"{name}={value}" for name, value in alice.both_cookies.items()))
    for name, headers in REFUSED.items():
        for method, path in UNSAFE:
            answer = await client.request(method, path, headers=[cookie, *headers])
            assert answer.status_code == 403, (name, path)
            assert answer.json()["code"] == "cross_site", (name, path)
            assert "set-cookie" not in answer.headers, (name, path)
        assert (await client.get("/api/user/me", headers=[cookie])).status_code == 200, name


async def test_our_own_pages_act_by_cookie(client: httpx.AsyncClient, alice: SignedIn) -> None:
    cookie = ("Cookie", f"spawner_session={alice.cookie}")
    for name, headers in ALLOWED.items():
        answer = await client.request("DELETE", "/api/auth/sessions", headers=[cookie, *headers])
        assert answer.status_code == 204, name


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "null",
        "https://*.example.org",
        "https://app.example.org/",
        "https://app.example.org/path",
        "https://app.example.org?x",
        "https://app.example.org#x",
        "https://user@app.example.org",
        "https://APP.example.org",
        "https://app.example.org:443",
        "http://app.example.org:80",
        "https://app.example.org:0",
        "https://app.example.org\n",
        "app.example.org",
        "file://",
        "https://",
        "https://good.example.org,https://bad.example.org/",
    ],
)
def test_what_is_no_exact_origin_stops_the_start(value: str) -> None:
    with pytest.raises(ValidationError, match="not an exact origin"):
        Settings(_env_file=None, secret_key="x0123456789abcdefghijklmnopqrstuvwxyz", cors_origins=[*value.split(",")])


def test_exact_origins_are_taken() -> None:
    text = "https://app.example.org, http://localhost:3000,http://[::1]:3000,https://a-b.example.org:8443"
    settings = Settings(_env_file=None, secret_key="x0123456789abcdefghijklmnopqrstuvwxyz", cors_origins=text)
    assert len(settings.cors_origins) == 4


FOREIGN = [
    "*",
    "null",
    "",
    "https://app.example.org.evil.org",
    "https://evil-app.example.org",
    "https://appxexample.org",
    "https://app.example.org/",
    "https://APP.example.org",
    "https://app.example.org, https://evil.org",
    "https://sub.app.example.org",
]


async def test_no_other_origin_reads_an_answer(settings: Settings, alice: SignedIn) -> None:
    async with serving(settings.model_copy(update={"cors_origins": ["https://app.example.org"]})) as client:
        for origin in FOREIGN:
            for method in ("GET", "OPTIONS"):
                headers = {**alice.headers, "Origin": origin, "Access-Control-Request-Method": "GET"}
                answer = await client.request(method, "/api/user/me", headers=headers)
                allowed = {name for name in answer.headers if name.startswith("access-control-allow-")}
                assert not allowed & {"access-control-allow-origin", "access-control-allow-credentials"}, origin


def check_cookie(header: str, prefix: str, path: str) -> None:
    (cookie,) = SimpleCookie(header).values()
    assert cookie.key.startswith(f"{prefix}spawner_"), header
    assert cookie["httponly"], header
    assert cookie["secure"], header
    assert cookie["samesite"] == "lax", header
    assert cookie["path"] == path, header
    assert cookie["domain"] == "", header


@pytest.mark.parametrize("mode", ["host", "path"])
async def test_every_cookie_of_a_production_installation_is_kept_to_its_host(
    settings: Settings, resources: Resources, mode: str
) -> None:
    host = "alice-hello.apps.example.org" if mode == "host" else "apps.example.org"
    workspaces = "https://{route}.apps.example.org" if mode == "host" else "https://apps.example.org/{route}"
    away = "/" if mode == "host" else "/alice-hello/"
    addresses = {"public_url": "https://spawner.example.org", "workspace_url": workspaces}
    user = await make_user(resources)
    token = await make_link(resources, user)
    async with resources.unit_of_work() as session:
        session.add(Workspace(user_id=user.id, template="hello", status=WorkspaceStatus.RUNNING))
    same = {"Sec-Fetch-Site": "same-origin"}
    production = settings.model_copy(update={"environment": "production", **addresses})
    async with serving(production) as client, gateway_of(production) as gateway:

        async def visit(uri: str, cookie: str = "") -> httpx.Response:
            forwarded = {"X-Forwarded-Method": "GET", "X-Forwarded-Host": host, "X-Forwarded-Uri": uri}
            headers = {**forwarded, "Sec-Fetch-Mode": "navigate", "Cookie": cookie}
            return await gateway.post("/internal/gateway", headers=headers)

        stranger = await client.get("/open/alice-hello")
        signed_in = await client.post("/api/auth/verify", json={"token": token}, headers=same)
        renewed = await client.post("/api/auth/refresh", headers=same)
        entry = await visit(away)
        state = parse_qs(urlsplit(entry.headers["Location"]).query)["state"][0]
        on = urlsplit((await client.get("/open/alice-hello", params={"state": state})).headers["Location"])
        entered = await visit(f"{on.path}?{on.query}", entry.headers["Set-Cookie"].partition(";")[0])
        signed_out = await client.post("/api/auth/logout", headers=same)
        none_left = await client.post("/api/auth/refresh", headers=same)
    for answer, count in ((stranger, 0), (signed_in, 3), (renewed, 2), (signed_out, 2), (none_left, 2)):
        cookies = answer.headers.get_list("set-cookie")
        assert len(cookies) == count
        for cookie in cookies:
            check_cookie(cookie, "__Host-", "/")
    for answer in (entry, entered):
        (cookie,) = answer.headers.get_list("set-cookie")
        check_cookie(cookie, "__Host-" if mode == "host" else "__Secure-", "/" if mode == "host" else "/alice-hello")


async def test_a_cookie_that_was_planted_beside_ours_signs_nobody_in(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    alice, mallory = [await sign_in(resources, await make_user(resources, name)) for name in ("alice", "mallory")]
    for planted in (
        f"spawner_session={mallory.cookie}; spawner_session={alice.cookie}",
        f"\xa0spawner_session={mallory.cookie}",
    ):
        answer = await client.get("/api/user/me", headers=[(b"cookie", planted.encode("latin-1"))])
        assert answer.status_code == 401
    blanks = f"\tspawner_session = {alice.cookie} ; other=1"
    assert (await client.get("/api/user/me", headers={"Cookie": blanks})).status_code == 200
