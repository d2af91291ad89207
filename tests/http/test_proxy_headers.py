"""Whose word counts on a client's address."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.types import Message, Receive, Scope, Send

from app.core.networks import read_network
from app.core.settings.model import Settings
from app.http.proxy_headers import ProxyHeadersMiddleware, client_address

PROXY, OTHER, CLIENT = "10.0.0.1", "10.0.0.2", "203.0.113.9"


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "seen"),
    [
        ([], PROXY, [CLIENT], PROXY),
        ([], "127.0.0.1", ["127.0.0.1"], "127.0.0.1"),
        ([OTHER], PROXY, [CLIENT], PROXY),
        ([PROXY], PROXY, [], PROXY),
        ([PROXY], PROXY, [""], PROXY),
        ([PROXY], PROXY, [CLIENT], CLIENT),
        ([PROXY], PROXY, [f"6.6.6.6, {CLIENT}"], CLIENT),
        ([PROXY], PROXY, ["6.6.6.6", CLIENT], CLIENT),
        ([PROXY], PROXY, [CLIENT, "6.6.6.6"], "6.6.6.6"),
        (["10.0.0.0/8"], PROXY, [f"6.6.6.6,{CLIENT}\t, {OTHER} ", " 10.9.9.9"], CLIENT),
        (["10.0.0.0/8"], PROXY, [f"10.7.7.7, {OTHER}"], "10.7.7.7"),
        ([PROXY], PROXY, [f"6.6.6.6, {CLIENT}, unknown"], PROXY),
        ([PROXY], PROXY, ["6.6.6.6, 10.0.0.1, _hidden"], PROXY),
        (["10.0.0.0/8"], PROXY, ["6.6.6.6, evil\n, 10.0.0.2"], OTHER),
        ([PROXY], PROXY, ["203.0.113.9:4711"], CLIENT),
        ([PROXY], PROXY, ["203.0.113.9:port"], PROXY),
        ([PROXY], PROXY, ["203.0.113.009"], PROXY),
        ([PROXY], PROXY, ["0xcb007109"], PROXY),
        ([PROXY], PROXY, ["[2001:DB8:0::9]:4711"], "2001:db8::9"),
        ([PROXY], PROXY, ["[2001:db8::9]"], "2001:db8::9"),
        ([PROXY], PROXY, ["2001:db8::9"], "2001:db8::9"),
        ([PROXY], PROXY, ["[2001:db8::9"], PROXY),
        ([PROXY], PROXY, ["fe80::1%eth0"], PROXY),
        ([PROXY], PROXY, ["::ffff:203.0.113.9"], CLIENT),
        ([PROXY], "::ffff:10.0.0.1", [CLIENT], CLIENT),
        (["::ffff:10.0.0.0/104"], PROXY, [CLIENT], CLIENT),
        (["2001:db8::/32"], "2001:db8::1", [f"6.6.6.6, {CLIENT}, 2001:DB8::2"], CLIENT),
        (["2001:db8::/32"], "2001:db9::1", [CLIENT], "2001:db9::1"),
        (["0.0.0.0/0"], "2001:db8::1", [CLIENT], "2001:db8::1"),
        ([PROXY], "testclient", [CLIENT], "testclient"),
        # A Unix socket, which the proxy alone can open.
        ([], None, [f"6.6.6.6, {CLIENT}"], CLIENT),
        ([PROXY], None, [f"6.6.6.6, {CLIENT}, {PROXY}"], CLIENT),
        ([], None, ["unknown"], ""),
        ([], None, [], ""),
    ],
)
def test_the_rightmost_that_is_not_trusted_is_the_client(
    trusted: list[str], peer: str | None, forwarded: list[str], seen: str
) -> None:
    assert client_address(peer, forwarded, [read_network(text) for text in trusted]) == seen


WORDS = st.one_of(
    st.ip_addresses().map(str),
    st.sampled_from(
        [PROXY, OTHER, "10.0.0.1:80", "[2001:db8::1]:80", "", "unknown", "10.0.0.1.", "[", "::ffff:10.0.0.1"]
    ),
    st.text(alphabet="0123456789abcdef.:[]% ,\t\xa0é", max_size=20),
)
HEADERS = st.lists(st.lists(WORDS, max_size=5).map(",".join), max_size=3)


@given(HEADERS, st.sampled_from([PROXY, "10.1.2.3", "192.0.2.1", "2001:db8::1"]))
def test_nothing_left_of_the_client_matters_and_the_client_is_an_address(forwarded: list[str], peer: str) -> None:
    trusted = [read_network("10.0.0.0/8"), read_network("2001:db8::/32")]
    seen = client_address(peer, forwarded, trusted)
    assert str(ip_address(seen)) == seen
    # Whatever a client puts before what the first proxy added changes nothing.
    for claimed in ("6.6.6.6", "10.0.0.2", "garbage"):
        assert client_address(peer, [claimed, *forwarded, CLIENT], trusted) == client_address(peer, [CLIENT], trusted)


@given(HEADERS, st.ip_addresses().map(str))
def test_an_empty_list_trusts_nobody(forwarded: list[str], peer: str) -> None:
    seen = client_address(peer, forwarded, [])
    assert seen == client_address(peer, [], [])


@pytest.mark.parametrize("text", ["*", "localhost", "10.0.0.1/8", "10.0.0", "", "10.0.0.1:80", "fe80::1%eth0/64"])
def test_what_is_no_address_stops_the_start(text: str) -> None:
    with pytest.raises(ValidationError, match="neither an address nor a network"):
        Settings(_env_file=None, secret_key="0123456789abcdefghijklmnopqrstuvwxyz", trusted_proxies=[text])


@pytest.mark.parametrize(
    ("peer", "lines", "client", "scheme"),
    [
        (PROXY, [("x-forwarded-for", CLIENT), ("x-forwarded-proto", "https")], (CLIENT, 0), "https"),
        (PROXY, [("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")], (PROXY, 5), "http"),
        (PROXY, [("x-forwarded-proto", "javascript")], (PROXY, 5), "http"),
        (OTHER, [("x-forwarded-for", CLIENT), ("x-forwarded-proto", "https")], (OTHER, 5), "http"),
    ],
)
async def test_the_app_sees_what_a_trusted_proxy_says(
    peer: str, lines: list[tuple[str, str]], client: tuple[str, int], scheme: str
) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError(message)

    headers = [(name.encode(), value.encode()) for name, value in lines]
    for kind in ("http", "lifespan"):
        scope = {"type": kind, "client": (peer, 5), "scheme": "http", "headers": headers}
        await ProxyHeadersMiddleware(app, [PROXY])(scope, receive, send)
    assert (seen[0]["client"], seen[0]["scheme"]) == (client, scheme)
    assert seen[1]["client"] == (peer, 5)


@pytest.mark.parametrize(
    ("server", "client"), [(("/run/api.sock", None), (CLIENT, 0)), (("127.0.0.1", 8000), None), (None, None)]
)
async def test_a_peer_without_an_address_is_the_proxy_at_a_unix_socket_alone(
    server: tuple[str, int | None] | None, client: tuple[str, int] | None
) -> None:
    """The server does not know the address of a connection that was lost, either."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def never(*_: object) -> Message:
        raise AssertionError

    headers = [(b"x-forwarded-for", CLIENT.encode())]
    scope = {"type": "http", "client": None, "server": server, "scheme": "http", "headers": headers}
    await ProxyHeadersMiddleware(app, [PROXY])(scope, never, never)  # type: ignore[arg-type]  # neither is called
    assert seen[0]["client"] == client
