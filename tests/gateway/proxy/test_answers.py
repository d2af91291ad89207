"""What of a container's answer reaches the browser, and what comes where there is none, through a real Caddy."""

from functools import partial

import pytest

from app.http.middleware import MAX_HEAD
from tests.support.proxy import Owned, Site
from tests.support.raw_http import check_problem, heads
from tests.support.upstream import Arrival, upstream


def said(*lines: str, status: str = "200 OK", body: str = "") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}", "", body]).encode("latin-1")


def give(answer: bytes, _: Arrival) -> bytes:
    return answer


async def ask(site: Site, owned: Owned, path: str = "/a/b", *lines: str, method: str = "GET") -> bytes:
    cookie = f"Cookie: {owned.cookie['Cookie']}"
    return await site.raw(site.host(owned.route), site.path(owned.route, path), [cookie, *lines], method=method)


# What a container that does not know its prefix names, and what the browser must hear in path mode.
PLACES = [
    ("/", "/alice-hello/"),
    ("/login", "/alice-hello/login"),
    ("/login?next=/a#b", "/alice-hello/login?next=/a#b"),
    ("/alice-hellox/", "/alice-hello/alice-hellox/"),
    ("/\t/evil", "/alice-hello/\t/evil"),
    ("/alice-hello", "/alice-hello"),
    ("/alice-hello/", "/alice-hello/"),
    ("/alice-hello/login?x", "/alice-hello/login?x"),
    ("/alice-hello?x", "/alice-hello?x"),
    ("login", "login"),
    ("../x", "../x"),
    ("?x", "?x"),
    ("#x", "#x"),
    ("", ""),
    ("//evil.example.org/x", "//evil.example.org/x"),
    ("/\\evil.example.org", "/\\evil.example.org"),
    ("http://evil.example.org/x", "http://evil.example.org/x"),
    ("https://127.0.0.1/login", "https://127.0.0.1/login"),
]
REFRESHES = ["5; url={}", "0;URL={}", "0.5 ;url = {}", "1, url='{}'", '3;url="{}"', "2; {}"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("status", ["201 Created", "302 Found", "308 Permanent Redirect", "200 OK"])
async def test_a_containers_own_paths_get_its_prefix_once(site: Site, method: str, status: str) -> None:
    async with upstream() as container:
        owned = await site.own(port=container.port)
        for place, prefixed in PLACES:
            lines = [f"Location: {place}", f"Content-Location: {place}", f"Link: <{place}>; rel=preload, <x>; rel=y"]
            refreshes = REFRESHES if place else []
            lines += [f"Refresh: {form.format(place)}" for form in refreshes]
            container.answer = partial(give, said(*lines, status=status))
            answer = await ask(site, owned, method=method)
            expected = prefixed if site.edge.mode == "path" else place
            assert heads(answer, "Location") == [expected], (place, answer)
            assert heads(answer, "Content-Location") == [expected]
            assert heads(answer, "Refresh") == [form.format(expected) for form in refreshes]
            assert heads(answer, "Link") == [f"<{expected}>; rel=preload, <x>; rel=y"]


async def test_a_container_that_knows_its_prefix_says_where_to_go_itself(site: Site) -> None:
    async with upstream(partial(give, said("Location: /login", status="302 Found"))) as container:
        owned = await site.own(template="jupyter", port=container.port)
        assert heads(await ask(site, owned), "Location") == ["/login"]


EVERYWHERE = [
    "Clear-Site-Data",
    "Public-Key-Pins",
    "Public-Key-Pins-Report-Only",
    "Expect-CT",
    "Set-Login",
    "IdP-SignIn-Status",
    "Alt-Svc",
    "Sec-Session-Registration",
    "Secure-Session-Registration",
    "Sec-Session-Challenge",
    "Attribution-Reporting-Register-Source",
    "Shared-Storage-Write",
]
OF_THE_ORIGIN = [
    "Strict-Transport-Security",
    "NEL",
    "Report-To",
    "Reporting-Endpoints",
    "Origin-Agent-Cluster",
    "Accept-CH",
    "Accept-CH-Lifetime",
    "Critical-CH",
    "Use-As-Dictionary",
    "Cache-Groups",
    "Cache-Group-Invalidation",
]


async def test_no_workspace_binds_what_others_share(site: Site) -> None:
    lines = [f"{name}: x" for name in (*EVERYWHERE, *OF_THE_ORIGIN)]
    hint = "\r\n".join(["HTTP/1.1 103 Early Hints", *lines, "", ""]).encode()
    async with upstream(lambda _: hint + said(*lines, "Server: mine", "X-Own: 1")) as container:
        owned = await site.own(port=container.port)
        answer = await ask(site, owned)
    assert answer.startswith(b"HTTP/1.1 103 ")
    assert [name for name in EVERYWHERE if heads(answer, name)] == []
    left = [name for name in OF_THE_ORIGIN if heads(answer, name)]
    assert left == ([] if site.edge.mode == "path" else OF_THE_ORIGIN)
    assert (heads(answer, "X-Own"), heads(answer, "Server"), heads(answer, "Via")) == (["1"], ["mine"], [])


async def test_early_hints_do_not_say_who_passes_them_on(site: Site) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
    async with upstream(lambda _: hint + said()) as container:
        owned = await site.own(port=container.port)
        answer = await ask(site, owned)
    assert heads(answer, "Link") == [f"<{site.path(owned.route)}style.css>; rel=preload"]
    assert b"Caddy" not in answer


async def test_trailers_that_were_announced_are_dropped(site: Site) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Set-Cookie, X-Sum\r\n\r\n2\r\nok\r\n0\r\n"
    trailers = b"Set-Cookie: spawner_workspace=evil; Path=/\r\nX-Sum: 1\r\n\r\n"
    async with upstream(lambda _: chunked + trailers) as container:
        owned = await site.own(port=container.port)
        answer = await ask(site, owned)
    assert (heads(answer, "Set-Cookie"), heads(answer, "Trailer"), heads(answer, "X-Sum")) == ([], [], [])
    assert b"ok" in answer


@pytest.mark.parametrize(
    "answer",
    [
        said(*(f"X-{number}: {'x' * 10_000}" for number in range(900))),
        said(f"X-Long: {'x' * MAX_HEAD}"),
        b"HTTP/1.1 nonsense\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 000 Zero\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["headers", "header", "status", "words", "101", "101-asked", "101-bare", "length", "000", "099"],
)
async def test_what_cannot_be_passed_on_is_named(site: Site, answer: bytes) -> None:
    async with upstream(partial(give, answer)) as container:
        owned = await site.own(port=container.port)
        check_problem(await ask(site, owned), 502, "workspace_invalid_answer")
        page = await site.visit(owned.route, "/", {**owned.cookie, "Accept-Language": "de"})
        assert (page.status_code, "ist kein gültiges HTTP" in page.text) == (502, True)


async def test_large_headers_within_the_bound_are_passed_on(site: Site) -> None:
    async with upstream(lambda _: said(f"X-Long: {'x' * 50_000}")) as container:
        owned = await site.own(port=container.port)
        assert heads(await ask(site, owned), "X-Long") == ["x" * 50_000]


@pytest.mark.parametrize("host", ["unknown.example.org", "apps.localhost", "localhost.", "", "10.0.0.1"])
async def test_an_unknown_host_is_refused(site: Site, host: str) -> None:
    answer = await site.raw(f"{host}:{site.edge.port}", "/", ["Accept: text/html", "Accept-Language: de"])
    if host:
        check_problem(answer, 421, "unknown_host")
        assert b"Unbekannter Name" in answer
    assert b"Caddy" not in answer
    assert not answer.startswith(b"HTTP/1.1 2"), answer
