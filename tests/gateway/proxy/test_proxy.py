"""What reaches a container, and how, through a real Caddy."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from app.http.proxy_headers import ProxyHeadersMiddleware
from tests.support.http import direct_client
from tests.support.ports import reserved_port
from tests.support.proxy import Site, caddy
from tests.support.sockets import last, socket_to
from tests.support.waiting import PATIENCE

MEGABYTE = b"x" * 2**20


async def test_the_owner_reaches_the_container(site: Site) -> None:
    owned = await site.own()
    answer = await site.ask(owned.route, "/a/b?c=d&e=%2F", owned.cookie)
    assert (answer.status_code, answer.text) == (200, "two\n")
    assert answer.headers["x-peer"] == "yes"
    assert last(site).target == "/a/b?c=d&e=%2F"
    assert last(site).get("x-spawner-user") == ["alice"]
    assert last(site).get("host") == [site.host(owned.route)]
    assert last(site).get("x-forwarded-prefix") == (["/alice-hello"] if site.edge.mode == "path" else [])


async def test_a_template_that_knows_its_prefix_keeps_it(site: Site) -> None:
    owned = await site.own(template="jupyter")
    await site.ask(owned.route, "/lab", owned.cookie)
    assert last(site).target == site.path(owned.route, "/lab")
    assert last(site).get("x-forwarded-prefix") == []


@pytest.mark.parametrize("template", ["hello", "jupyter"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/a%2Fb%20c%25",
        "/../bob-hello/x",
        "/%2e%2e/bob-hello/x",
        "/..%2fbob-hello",
        "//bob-hello//x",
        "/http://example.org/",
        "/a;b=c,d/(e)'f!*",
        "/caf%C3%A9",
        "/{env.HOME}?{env.HOME}",
        "/x?next=//evil&y=%00&z=?#",
        "/alice-hello/alice-hello",
    ],
)
async def test_the_owners_path_stays_with_the_owners_container(site: Site, path: str, template: str) -> None:
    owned = await site.own(template=template)
    target = site.path(owned.route)[:-1] + path
    answer = await site.raw(site.host(owned.route), target, [f"Cookie: {owned.cookie['Cookie']}"])
    assert answer.startswith(b"HTTP/1.1 200"), answer
    expected = path if template == "hello" else target
    # Characters that no URI may hold arrive encoded; nothing is decoded, merged or resolved.
    path_part, mark, query = expected.partition("?")
    expected = path_part.replace("{", "%7B").replace("}", "%7D") + mark + query.replace("#", "")
    assert last(site).target.replace("#", "") == expected


SPELLINGS = {
    "path": [
        "/%61lice-hello/",
        "//alice-hello/",
        "/./alice-hello/",
        "/../alice-hello/",
        "/alice-hello%2fx",
        "/Alice-hello/",
    ],
    "host": [
        "alice-hello.x.apps.localhost",
        "alice-hello.apps.localhost.",
        "alice--hello.apps.localhost",
        "x.localhost",
    ],
}


async def test_no_other_spelling_of_a_name_is_that_name(site: Site) -> None:
    owned = await site.own()
    for spelling in SPELLINGS[site.edge.mode]:
        host, target = (site.host(owned.route), spelling) if site.edge.mode == "path" else (spelling, "/")
        await site.raw(host, target, [f"Cookie: {owned.cookie['Cookie']}"])
    assert site.edge.peer.received == []


async def test_a_longer_name_is_not_the_owners(site: Site) -> None:
    owned = await site.own()
    answer = await site.ask("alice-helloevil", "/", owned.cookie)
    assert answer.status_code == 404
    assert site.edge.peer.received == []


async def test_nothing_the_client_claims_counts(site: Site) -> None:
    owned = await site.own()
    bob = await site.own("bob")
    lines = [
        f"Cookie: a=1; {owned.cookie['Cookie']}; b=2",
        "Cookie: c={env.HOME}; spawner_session=secret; __Host-spawner_session=secret",
        "X-Upstream: 127.0.0.1:1",
        "X-Strip-Prefix: /x",
        "X-Spawner-User: bob",
        "X-Spawner-Cookie: stolen=1",
        "x_spawner_user: bob",
        "X_Spawner-User: bob",
        "X-Spawner_User: bob",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Host: evil.example.org",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Prefix: /evil",
        f"X-Forwarded-Uri: {site.path(bob.route)}",
        "X-Forwarded-Method: TRACE",
        "X-Forwarded-Upgrade: websocket",
        "X-Forwarded-User: bob",
        "X-Real-IP: 6.6.6.6",
        "Forwarded: for=6.6.6.6",
        f"Authorization: {owned.owner.headers['Authorization']}",
        "Proxy-Authorization: Basic secret",
        "Keep-Alive: timeout=9",
        "TE: gzip",
        "X-Own: mine",
    ]
    answer = await site.raw(site.host(owned.route), site.path(owned.route), lines)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    got = last(site)
    names = {name for name, _ in got.headers}
    assert got.get("cookie") == ["a=1; b=2; c={env.HOME}"]
    assert got.get("x-spawner-user") == ["alice"]
    assert {name for name in names if "spawner" in name} == {"x-spawner-user"}
    assert got.get("x-forwarded-for") == ["127.0.0.1"]
    assert got.get("x-forwarded-host") == [site.host(owned.route)]
    assert got.get("x-forwarded-proto") == ["http"]
    assert got.get("x-forwarded-prefix") == (["/alice-hello"] if site.edge.mode == "path" else [])
    assert got.get("x-own") == ["mine"]
    assert not names & {
        "x-upstream", "x-strip-prefix", "authorization", "proxy-authorization", "forwarded", "x-real-ip", "keep-alive",
        "te", "x-forwarded-uri", "x-forwarded-method", "x-forwarded-upgrade", "x-forwarded-user",
    }  # fmt: skip
    assert "secret" not in repr(got.headers)


@pytest.mark.parametrize(
    "listed",
    ["X-Spawner-User", "X-Forwarded-Uri, X-Forwarded-Method", "X-Forwarded-Host", "Cookie, X-Spawner-User", "Host"],
)
async def test_a_connection_list_strikes_out_nothing_of_ours(site: Site, listed: str) -> None:
    owned = await site.own()
    cookie = f"Cookie: {owned.cookie['Cookie']}"
    answer = await site.raw(site.host(owned.route), site.path(owned.route), [cookie, f"Connection: {listed}"])
    if "Cookie" in listed:
        # The client struck out its own cookie, and is nobody.
        assert answer.startswith(b"HTTP/1.1 401"), answer
        return
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert last(site).get("x-spawner-user") == ["alice"]
    assert last(site).get("host") == [site.host(owned.route)]
    assert "x-upstream" not in dict(last(site).headers)


async def test_no_cookie_header_is_left_when_only_ours_was_sent(site: Site) -> None:
    owned = await site.own()
    await site.ask(owned.route, "/", owned.cookie)
    assert last(site).get("cookie") == []


async def test_a_planted_cookie_of_our_name_does_not_lock_the_owner_out(site: Site) -> None:
    owned = await site.own()
    cookie = f"spawner_workspace=planted; {owned.cookie['Cookie']}; spawner_workspace="
    assert (await site.ask(owned.route, "/", {"Cookie": cookie})).status_code == 200


async def test_a_stream_arrives_piece_by_piece(site: Site) -> None:
    owned = await site.own()
    url = f"http://127.0.0.1:{site.edge.port}{site.path(owned.route, '/stream')}"
    async with site.http.stream("GET", url, headers={"Host": site.host(owned.route), **owned.cookie}) as answer:
        pieces = answer.aiter_raw()
        async with asyncio.timeout(PATIENCE):
            assert await anext(pieces) == b"one\n"
        site.edge.peer.gate.set()
        assert b"".join([piece async for piece in pieces]) == b"two\n"


async def test_a_hundred_megabytes_are_carried(site: Site) -> None:
    owned = await site.own()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield MEGABYTE

    url = f"http://127.0.0.1:{site.edge.port}{site.path(owned.route, '/upload')}"
    headers = {"Host": site.host(owned.route), "Content-Length": str(100 * 2**20), **owned.cookie}
    answer = await site.http.post(url, content=body(), headers=headers)
    assert answer.status_code == 200
    assert (last(site).method, last(site).size) == ("POST", 100 * 2**20)


async def test_a_websocket_talks_both_ways(site: Site) -> None:
    owned = await site.own()
    connection: ClientConnection
    async with socket_to(site, owned, site.origin(owned.route)) as connection:
        await connection.send("hello")
        assert await connection.recv() == "hello"
    assert (last(site).method, last(site).get("x-spawner-user")) == ("WEBSOCKET", ["alice"])
    assert last(site).get("cookie") == []


# What a browser cannot send, or sends for another page. {host} is the own host, {name} that without its port.
ELSEWHERE = [
    [],
    ["null"],
    [""],
    ["http://evil.example.org"],
    ["http://localhost"],
    ["{public}"],
    ["{own}.evil"],
    ["{own}/"],
    ["{own}0"],
    ["http://{name}"],
    ["http://{name}:80"],
    ["https://{host}"],
    ["HTTP://{host}"],
    ["http://x@{host}"],
    ["http://evil@{host}"],
    ["http://evil.{host}"],
    ["http://{host}@evil.example.org"],
    ["http://bob-hello.apps.localhost:{port}"],
    ["http://alice-helloevil.apps.localhost:{port}"],
    ["{own}", "{public}"],
    ["{public}", "{own}"],
    ["{own}, {public}"],
    ["{own} {own}"],
]
KEY = ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="]


async def test_a_websocket_from_elsewhere_is_refused(site: Site) -> None:
    owned = await site.own()
    own, host = site.origin(owned.route), site.host(owned.route)
    names = {"own": own, "host": host, "name": host.partition(":")[0], "public": site.settings.public_url}
    for forms in ELSEWHERE:
        origins = [f"Origin: {form}".format(**names, port=site.edge.port) for form in forms]
        lines = [f"Cookie: {owned.cookie['Cookie']}", "Connection: Upgrade", "Upgrade: websocket", *KEY, *origins]
        answer = await site.raw(host, site.path(owned.route, "/ws"), lines)
        assert answer.startswith(b"HTTP/1.1 403"), (forms, answer)
    assert site.edge.peer.received == []


async def test_a_websocket_without_a_session_is_refused(site: Site) -> None:
    owned = await site.own()
    with pytest.raises(InvalidStatus) as refused:
        await socket_to(site, owned, site.origin(owned.route), cookie=False).__aenter__()
    assert refused.value.response.status_code == 401


async def test_no_other_protocol_tunnels_past_the_gateway(site: Site) -> None:
    owned = await site.own()
    lines = [f"Cookie: {owned.cookie['Cookie']}", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"]
    for more in ([], ["Upgrade: websocket"]):
        answer = await site.raw(site.host(owned.route), site.path(owned.route), [*lines, *more])
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert last(site).get("upgrade") == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "{own}"}, 200),
        ({"Origin": "http://bob-evil.apps.localhost"}, 403),
    ],
)
async def test_another_origins_page_changes_nothing(site: Site, headers: dict[str, str], status: int) -> None:
    owned = await site.own()
    named = {name: value.format(own=site.origin(owned.route)) for name, value in headers.items()}
    answer = await site.ask(owned.route, "/", {**owned.cookie, **named}, method="POST")
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("site_of", "mode", "dest", "status"),
    [
        ("same-origin", "no-cors", "script", 200),
        ("same-origin", "navigate", "iframe", 200),
        ("none", "navigate", "document", 200),
        ("same-site", "navigate", "document", 200),
        ("cross-site", "navigate", "document", 200),
        ("same-site", "no-cors", "script", 403),
        ("same-site", "no-cors", "image", 403),
        ("same-site", "cors", "empty", 403),
        ("same-site", "navigate", "iframe", 403),
        ("cross-site", "navigate", "object", 403),
    ],
)
async def test_another_origins_page_can_link_to_a_workspace_and_not_use_its_parts(
    site: Site, site_of: str, mode: str, dest: str, status: int
) -> None:
    owned = await site.own()
    fetch = {"Sec-Fetch-Site": site_of, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    assert (await site.ask(owned.route, "/", {**owned.cookie, **fetch})).status_code == status


async def test_the_api_learns_the_proxys_own_peer_whatever_a_client_claims(site: Site) -> None:
    seen: list[tuple[tuple[str, int], str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["client"], scope["scheme"]))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    site.edge.api.app = ProxyHeadersMiddleware(app, ["127.0.0.1"])
    claims = [
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: https",
        "X-Real-IP: 6.6.6.6",
    ]
    claims += [
        "X-Real-IP: 6.6.6.6",
        "X_Forwarded_For: 6.6.6.6",
        "Forwarded: for=6.6.6.6",
        "Connection: X-Forwarded-For",
    ]
    for lines in ([], claims):
        await site.raw(f"localhost:{site.edge.port}", "/livez", lines)
    assert seen == [(("127.0.0.1", 0), "http")] * 2


async def test_the_gateway_is_for_the_proxy_alone(site: Site) -> None:
    owned = await site.own()
    for path in (
        "/internal/gateway",
        "/internal/tls?domain=localhost",
        "/internal/../internal/gateway",
        "//internal/gateway",
    ):
        assert (await site.public(path)).status_code == 404, path
        answer = await site.raw(f"localhost:{site.edge.port}", path, ["X-Forwarded-Uri: /alice-hello/"])
        assert answer.startswith(b"HTTP/1.1 404"), answer
    answer = await site.raw(f"localhost:{site.edge.port}", "/%69nternal/gateway", [f"Cookie: {owned.cookie['Cookie']}"])
    assert answer.startswith(b"HTTP/1.1 404"), answer


async def test_a_container_that_is_gone_is_named(site: Site) -> None:
    owned = await site.own()
    async with site.resources.unit_of_work() as session:
        session.add(owned.workspace)
        owned.workspace.port = reserved_port()
    headers = {**owned.cookie, "Accept-Language": "de"}
    answer = await site.ask(owned.route, "/", headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "workspace_unreachable")
    assert answer.json()["title"] == "Arbeitsplatz antwortet nicht"
    page = await site.visit(owned.route, "/", headers)
    assert page.status_code == 503
    assert "antwortet nicht" in page.text
    assert page.headers["retry-after"] == "5"


async def test_a_silent_api_is_named_and_no_secret_is_logged(tmp_path: Path) -> None:
    port = reserved_port()
    async with caddy(tmp_path, port, f"http://127.0.0.1:{port}", reserved_port()) as log:
        async with direct_client() as http:
            headers = {"Cookie": "spawner_workspace=very-secret", "Referer": "http://localhost/?very-secret"}
            for host in ("127.0.0.1", "localhost"):
                url = f"http://127.0.0.1:{port}/alice-hello/?token=very-secret"
                answer = await http.get(url, headers={**headers, "Host": f"{host}:{port}"})
                assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
                assert answer.headers["content-type"] == "application/problem+json"
                page = await http.get(url, headers={**headers, "Host": f"{host}:{port}", "Accept": "text/html"})
                assert page.status_code == 503
                assert "Arbeitsplätze laufen weiter" in page.text
        assert "very-secret" not in log.read_text()
        assert "serving initial configuration" in log.read_text()


async def test_a_query_that_reads_like_the_proxys_own_reaches_the_container(site: Site) -> None:
    owned = await site.own()
    answer = await site.ask(owned.route, "/?unreachable=busy", owned.cookie)
    assert (answer.status_code, last(site).target.endswith("/?unreachable=busy")) == (200, True)


async def test_a_path_that_ends_like_the_way_in_is_the_containers(site: Site) -> None:
    owned = await site.own()
    for method in ("GET", "POST"):
        answer = await site.ask(owned.route, "/x/.spawner/enter?code=1", owned.cookie, method)
        assert (answer.status_code, last(site).method) == (200, method)
