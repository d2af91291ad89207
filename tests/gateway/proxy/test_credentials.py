"""An application's own credentials reach it as they are; the platform's reach no container, wherever they stand."""

from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from app.gateway.credentials import read_credentials
from app.gateway.proxied_request import ProxiedRequest
from tests.support.factories import make_token
from tests.support.proxy import Site
from tests.support.sockets import basic, last, socket

JWT = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFwcCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


OWN = [
    f"Bearer {JWT}",
    basic("alice", "secret"),
    'Digest username="alice", realm="r", nonce="n", uri="/", response="x"',
    "Bearer {env.HOME} {http.vars.spawner_user}",
    "token 0123456789abcdef",
    "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c",
    "Basic !",
]


@pytest.mark.parametrize("value", OWN)
async def test_an_applications_own_authorization_reaches_it(site: Site, value: str) -> None:
    owned = await site.own()
    for method in ("GET", "POST", "PROPFIND"):
        answer = await site.ask(owned.route, "/", {**owned.cookie, "Authorization": value}, method=method)
        assert answer.status_code == 200
        assert (last(site).method, last(site).get("authorization")) == (method, [value])
    async with socket(site, owned, {**owned.cookie, "Authorization": value, "Origin": site.origin(owned.route)}):
        assert last(site).get("authorization") == [value]


async def test_without_one_the_container_sees_none(site: Site) -> None:
    owned = await site.own()
    await site.ask(owned.route, "/", owned.cookie)
    assert last(site).get("authorization") == []
    await site.ask(owned.route, "/", {**owned.cookie, "Authorization": "Basic x", "Connection": "Authorization"})
    assert last(site).get("authorization") == []


async def test_credentials_of_other_letters_are_read_past_them_as_lenient_servers_do(site: Site) -> None:
    owned = await site.own()
    secret = await make_token(site.resources, owned.owner.user, "workspaces")
    ours, own = (basic("x", password).replace("Basic ", "Basic \xe9") for password in (secret, "own"))
    for value, token in ((ours, secret), (own, None), ("Basic \xe9", None)):
        shown = read_credentials(
            site.resources.tokens, ProxiedRequest(method="GET", host="", uri="/", authorization=(value,))
        )
        assert (shown.token, shown.authorization) == (token, "" if token else value)


async def test_an_access_token_is_struck_out_and_what_stands_beside_it_stays(site: Site) -> None:
    owned = await site.own()
    access = owned.owner.access_token
    forged = access.rpartition(".")[0] + ".AAAA"
    for value in (f"Bearer {access}", f"Bearer {forged}", basic("x", access), f"Basic {access}", f"X a={access}, b"):
        await site.ask(owned.route, "/", {**owned.cookie, "Authorization": value})
        assert last(site).get("authorization") == []
    lines = [f"Cookie: {owned.cookie['Cookie']}", f"Authorization: Bearer {access}", "Authorization: Basic own"]
    assert (await site.raw(site.host(owned.route), site.path(owned.route), lines)).startswith(b"HTTP/1.1 200")
    assert last(site).get("authorization") == ["Basic own"]


async def test_a_personal_token_reaches_no_container_wherever_it_stands(site: Site) -> None:
    owned = await site.own()
    token = await make_token(site.resources, owned.owner.user, "workspaces")
    lines = [
        f"Cookie: a={token}; b=2; {owned.cookie['Cookie']}",
        f"X-Api-Key: {token}",
        f"X-Two: a {token} b {token}",
        f"Referer: http://x/?token={token}",
    ]
    target = site.path(owned.route, f"/lab?z=1&token={token}&a=%2F&k={token.replace('_', '%5F', 1)}")
    answer = await site.raw(site.host(owned.route), target, lines)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    got = last(site)
    assert token not in repr(got)
    assert got.get("x-two") == ["a removed b removed"]
    query = dict(parse_qsl(urlsplit(got.target).query))
    assert query == {"z": "1", "token": "removed", "a": "/", "k": "removed"}


@pytest.mark.parametrize(
    "query", ["a=b&a=&c", "q=%7B%22a%22%3A1%7D&x=%20+", "spawner_=1&x=spawner_notes.ipynb", "%zz&;"]
)
async def test_any_other_query_keeps_its_bytes(site: Site, query: str) -> None:
    owned = await site.own()
    await site.raw(site.host(owned.route), site.path(owned.route, f"/?{query}"), [f"Cookie: {owned.cookie['Cookie']}"])
    assert last(site).target.partition("?")[2] == query


def spelled(token: str) -> list[dict[str, str]]:
    """Every way in which a program may show a token in a header."""
    values = (f"Bearer {token}", f"bearer  {token}", f"token {token}", basic("alice", token), basic("", token))
    return [{"Authorization": value} for value in values]


async def test_a_token_opens_its_owners_workspace_to_a_program(site: Site) -> None:
    owned = await site.own()
    token = await make_token(site.resources, owned.owner.user, "workspaces")
    for headers in spelled(token):
        for method in ("GET", "POST", "DELETE"):
            answer = await site.ask(owned.route, "/api?x=1", headers, method=method)
            assert (answer.status_code, last(site).method) == (200, method)
        async with socket(site, owned, headers) as connection:
            await connection.send("hello")
            assert await connection.recv() == "hello"
        assert last(site).get("x-spawner-user") == ["alice"]
        assert last(site).get("authorization") == []
    assert token not in repr(site.edge.peer.received)


async def test_a_websockets_token_may_stand_where_its_client_can_put_it(site: Site) -> None:
    owned = await site.own()
    token = await make_token(site.resources, owned.owner.user, "workspaces")
    async with socket(site, owned, {}, f"?session_id=1&token={quote(token)}"):
        assert dict(parse_qsl(urlsplit(last(site).target).query)) == {"session_id": "1", "token": "removed"}
    protocols = f"v1.token.websocket.jupyter.org, v1.token.websocket.jupyter.org.{token}"
    async with socket(site, owned, {"Sec-WebSocket-Protocol": protocols}):
        assert token not in repr(last(site))
    assert (await site.ask(owned.route, f"/?token={token}")).status_code == 401


async def test_an_applications_own_authorization_and_our_token_may_come_together(site: Site) -> None:
    owned = await site.own()
    token = await make_token(site.resources, owned.owner.user, "workspaces")
    lines = [f"Authorization: Bearer {token}", "Authorization: Basic own"]
    assert (await site.raw(site.host(owned.route), site.path(owned.route), lines)).startswith(b"HTTP/1.1 200")
    assert last(site).get("authorization") == ["Basic own"]
    other = await make_token(site.resources, owned.owner.user, "workspaces")
    lines[1] = f"Authorization: Bearer {other}"
    assert (await site.raw(site.host(owned.route), site.path(owned.route), lines)).startswith(b"HTTP/1.1 401")
