"""What a workspace may do to the cookies in its visitor's browser, through a real Caddy."""

import random
import re
from functools import partial

import pytest

from tests.support.proxy import Owned, Site
from tests.support.upstream import Arrival, upstream

OURS = ["spawner_session", "SPAWNER_workspace", "__Host-spawner_session", "__Secure-spawner_entry", "__host-Spawner_x"]
BEFORE = ["", " ", "\t", "=", " = ", "\xa0", "\x85", "\xe2\x80\x80", "==	="]
DOMAINS = [
    "Domain=localhost",
    "domain=.localhost",
    "DOMAIN = 127.0.0.1",
    "\tDoMaIn\t=\tx",
    "Domain=",
    "Domain",
    'Domain="x"',
]
DOMAINS += ["Domain==x", "Domain=\xe4.x", "\xa0Domain=x", "Domain=a Domain=b", "domain=,domain=x"]
PATHS = [
    "Path=/",
    "path=/bob-hello/",
    "PATH = /x",
    "Path=",
    "Path",
    'Path="/"',
    "Path=x",
    "\tPath\t=/",
    "Path=/..",
    "Path==/",
]
OTHERS = [
    "Secure",
    "HttpOnly",
    "SameSite=None",
    "Max-Age=9",
    "Expires=Wed, 01 Jan 2031 00:00:00 GMT",
    "",
    " ",
    "x=y",
    "=",
    "Partitioned",
]


def answer_with(cookies: list[str], more: str = "", status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"Set-Cookie: {cookie}" for cookie in cookies), "Content-Length: 0", more]
    return "\r\n".join([line for line in lines if line] + ["", ""]).encode("latin-1")


def give(said: bytes, arrival: Arrival) -> bytes:
    return said


async def received(site: Site, owned: Owned, lines: list[str] = []) -> tuple[bytes, list[str]]:  # noqa: B006
    """The raw answer, and the values of its Set-Cookie headers, informational answers included."""
    answer = await site.raw(
        site.host(owned.route), site.path(owned.route, "/a/b"), [f"Cookie: {owned.cookie['Cookie']}", *lines]
    )
    return answer, [value.decode("latin-1") for value in re.findall(rb"(?im)^set-cookie:[ \t]*(.*?)\r$", answer)]


def check(site: Site, owned: Owned, values: list[str]) -> None:
    """Read each value as browsers do, at their most generous, and see that it harms nobody else."""
    for value in values:
        pair, *attributes = value.split(";")
        bare = re.sub(r"^[^!-<>-~]+", "", pair).lower()
        assert not re.match(r"(__[a-z]+-)?spawner", bare), value
        names = [re.sub(r"[^a-z]", "", attribute.partition("=")[0].lower()) for attribute in attributes]
        assert "domain" not in names, value
        if site.edge.mode == "path" and pair:
            assert names.count("path") == 1, value
            assert attributes[0] == f" Path=/{owned.route}/", value


@pytest.mark.parametrize("seed", [1])
async def test_no_set_cookie_reaches_beyond_its_workspace(site: Site, seed: int) -> None:
    dice = random.Random(seed)
    cookies = [f"{before}{name}{after}=evil" for before in BEFORE for name in OURS for after in ("", " ", "\t")]
    for _ in range(1000):
        name = dice.choice(
            [*OURS, "a", "", "x" * 5000, "\xe4", '"q"', "__Host-app", dice.choice(BEFORE) + dice.choice(OURS)]
        )
        pair = name + dice.choice(["=1", "", "=", " = 1 ", '="a b"', "=a=b", "=Domain=x", "=path"])
        attributes = [dice.choice(dice.choice([DOMAINS, PATHS, OTHERS])) for _ in range(dice.choice([0, 1, 2, 3, 20]))]
        cookies.append(dice.choice([";", "; ", " ;\t"]).join([pair, *attributes]))
    # An answer's head may have 64 KB.
    parts = [cookies[start : start + 10] for start in range(0, len(cookies), 10)]
    values = []
    async with upstream() as container:
        owned = await site.own(port=container.port)
        for part in parts:
            container.answer = partial(give, answer_with(part))
            answer, found = await received(site, owned)
            assert answer.startswith(b"HTTP/1.1 200"), answer[:300]
            assert len(found) == len(part)
            values += found
    assert len([value for value in values if value]) > 400
    check(site, owned, values)


@pytest.mark.parametrize("control", ["\x00", "\x0b", "\x1f", "\x7f", "\r"])
async def test_an_answer_with_control_characters_is_not_passed_on(site: Site, control: str) -> None:
    for cookie in (f"{control}spawner_session=evil", f"a=1; Domain{control}=localhost"):
        said = answer_with([cookie])
        async with upstream(partial(give, said)) as container:
            owned = await site.own(f"alice{ord(control)}{len(cookie)}", port=container.port)
            answer, values = await received(site, owned)
        assert values == [] or not answer.startswith(b"HTTP/1.1 200"), answer
        check(site, owned, values)


async def test_what_an_application_sets_for_itself_is_kept(site: Site) -> None:
    kept = [
        "sid=a b; Path=/; HttpOnly",
        "t=1; Max-Age=5; Secure; SameSite=Strict",
        "e=; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
    ]
    async with upstream(lambda _: answer_with(kept)) as container:
        owned = await site.own(port=container.port)
        _, values = await received(site, owned)
    if site.edge.mode == "host":
        assert values == kept
        return
    path = f"; Path=/{owned.route}/"
    assert values == [
        f"sid=a b{path}; HttpOnly",
        f"t=1{path}; Max-Age=5; Secure; SameSite=Strict",
        f"e={path}; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
    ]


EVIL = ["spawner_workspace=evil", "a=1; Domain=localhost; Path=/"]


async def test_early_hints_and_websocket_answers_are_no_way_around(site: Site) -> None:
    early = answer_with(EVIL, "Link: </a>; rel=preload", "103 Early Hints").replace(b"Content-Length: 0\r\n", b"")
    socket = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    upgraded = (socket + "".join(f"Set-Cookie: {cookie}\r\n" for cookie in EVIL) + "\r\n").encode()

    def answer(arrival: Arrival) -> bytes:
        return upgraded if arrival.get(b"upgrade") else early + answer_with(EVIL, "Trailer: Set-Cookie")

    async with upstream(answer) as container:
        owned = await site.own(port=container.port)
        plain, values = await received(site, owned)
        assert plain.count(b"HTTP/1.1 103") == 1
        assert len(values) == 4
        check(site, owned, values)
        key = [
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        ]
        switched, values = await received(site, owned, [*key, f"Origin: {site.origin(owned.route)}"])
        assert switched.startswith(b"HTTP/1.1 101"), switched
        assert len(values) == 2
        check(site, owned, values)


async def test_a_workspace_cannot_clear_the_sites_data_nor_serve_its_siblings(site: Site) -> None:
    headers = 'clear-site-data: "*"\r\nService-Worker-Allowed: /\r\nX-Own: kept'
    async with upstream(lambda _: answer_with([], headers)) as container:
        owned = await site.own(port=container.port)
        answer, _ = await received(site, owned)
    assert b"clear-site-data" not in answer.lower()
    scope = b"/alice-hello/" if site.edge.mode == "path" else b"/"
    assert b"Service-Worker-Allowed: " + scope + b"\r\n" in answer
    assert b"X-Own: kept" in answer


async def test_the_gateways_own_cookies_are_set(site: Site) -> None:
    await site.own()
    sent = await site.visit("alice-hello")
    assert sent.headers["set-cookie"].startswith("spawner_entry=")
