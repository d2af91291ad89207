"""How much a workspace and a browser may ask of the edge, and that nothing leads around it. Bounds are made short."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from app.models import WorkspaceStatus
from tests.support.factories import sign_in
from tests.support.ports import reserved_port
from tests.support.proxy import Edge, Owned, Peer, Site, Switchboard, caddy, serving
from tests.support.raw_http import check_problem, connected, container, head, heads
from tests.support.waiting import PATIENCE

# For one container of an account, for each of a few, and for each of many.
IN_FLIGHT, FEW, MANY = 5, 3, 2
TEMPLATES = ("hello", "jupyter", "third", "fourth", "fifth", "sixth")
# Go knows loopback addresses, and asks no proxy for them; this one leads there too, and is none.
ANYWHERE = "0.0.0.0"


@pytest.fixture(scope="module")
async def trap() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A proxy as companies have them, and what it was sent."""
    caught: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caught.append(await reader.read(2**16))
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], caught


@pytest.fixture(scope="module", params=["path", "host"])
async def edge(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, trap: tuple[int, list[bytes]]
) -> AsyncIterator[Edge]:
    port, api, peer = reserved_port(), Switchboard(), Peer()
    site = f"http://127.0.0.1:{port}" if request.param == "path" else f"http://*.apps.localhost:{port}"
    names = ("http_proxy", "https_proxy", "all_proxy")
    proxies = dict.fromkeys((*names, *map(str.upper, names)), f"http://127.0.0.1:{trap[0]}")
    async with AsyncExitStack() as stack:
        api_port = await stack.enter_async_context(serving(api))
        peer_port = await stack.enter_async_context(serving(peer))
        more = {
            **proxies,
            "NO_PROXY": "",
            "no_proxy": "",
            "SPAWNER_API_UPSTREAM": f"{ANYWHERE}:{api_port}",
            "SPAWNER_GATEWAY_UPSTREAM": f"{ANYWHERE}:{api_port}",
            "SPAWNER_IN_FLIGHT": str(IN_FLIGHT),
            "SPAWNER_IN_FLIGHT_FEW": str(FEW),
            "SPAWNER_IN_FLIGHT_MANY": str(MANY),
            "SPAWNER_IN_FLIGHT_WAIT": "500ms",
            "SPAWNER_SLOW_ANSWER": "1s",
            "SPAWNER_SLOW_BODY": "500ms",
        }
        log = await stack.enter_async_context(caddy(tmp_path_factory.mktemp("caddy"), port, site, api_port, **more))
        yield Edge(request.param, port, api, peer, peer_port, log)


async def test_no_proxy_of_the_environment_is_asked(site: Site, trap: tuple[int, list[bytes]]) -> None:
    owned = await site.own()
    async with site.resources.unit_of_work() as session:
        session.add(owned.workspace)
        owned.workspace.host = ANYWHERE
    for method in ("GET", "POST"):
        answer = await site.ask(owned.route, "/", {**owned.cookie, "Cookie": f"{owned.cookie['Cookie']}; a=1"}, method)
        assert (answer.status_code, answer.text) == (200, "two\n")
    assert (await site.public("/livez")).status_code == 200
    assert trap[1] == []


@dataclass
class Hanging:
    """Containers that begin to answer what is asked below `/hang`, and end it when told to; anything else at once."""

    release: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n")
        if b"/hang" in seen.partition(b"\r\n")[0]:
            await self.release.wait()
        writer.write(b"ok")

    async def fill(self, stack: AsyncExitStack, site: Site, owned: Owned, count: int) -> None:
        """Leave so many requests to this workspace unanswered until the stack ends, and see that it takes no more."""
        ask = head(site, owned, method="GET", route=owned.route).replace(b"/up", b"/hang")
        for _ in range(count):
            reader, _ = await stack.enter_async_context(connected(site, ask))
            async with asyncio.timeout(PATIENCE):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await is_full(site, owned)


async def is_full(site: Site, owned: Owned) -> None:
    refused = await site.ask(owned.route, "/", owned.cookie)
    assert (refused.status_code, refused.json()["code"]) == (503, "workspace_busy")
    assert refused.headers["retry-after"] == "5"


async def test_requests_that_a_container_leaves_unanswered_are_counted_and_refused(site: Site) -> None:
    hanging = Hanging()
    async with container(hanging) as port:
        owned = await site.own(port=port)
        other = await site.own("bob", port=site.edge.peer_port)
        async with AsyncExitStack() as stack:
            await hanging.fill(stack, site, owned, IN_FLIGHT)
            page = await site.visit(owned.route, "/", {**owned.cookie, "Accept-Language": "de"})
            assert (page.status_code, "zu viele Anfragen" in page.text) == (503, True)
            # It is this workspace's bound, and nobody else's.
            assert (await site.ask(other.route, "/", other.cookie)).status_code == 200
            hanging.release.set()
        async with asyncio.timeout(PATIENCE):
            while (await site.ask(owned.route, "/", owned.cookie)).status_code != 200:
                await asyncio.sleep(0.05)


async def test_what_an_account_leaves_unanswered_is_shared_by_its_containers(site: Site) -> None:
    hanging, owner = Hanging(), await sign_in(site.resources, "alice")
    other = await site.own("bob", port=site.edge.peer_port)
    async with AsyncExitStack() as stack:
        running: list[Owned] = []
        # The worst order: each workspace is filled before the next one starts.
        for number, template in enumerate(TEMPLATES, start=1):
            port = await stack.enter_async_context(container(hanging))
            running.append(await site.own(owner, template, port=port))
            await hanging.fill(stack, site, running[-1], IN_FLIGHT if number == 1 else FEW if number <= 4 else MANY)
        # What is full by its own bound stays full by a smaller one.
        for owned in running:
            await is_full(site, owned)
        assert hanging.asked == IN_FLIGHT + 3 * FEW + (len(TEMPLATES) - 4) * MANY
        assert (await site.ask(other.route, "/", other.cookie)).status_code == 200
        # Workspaces that are stopped leave their share to the others.
        async with site.resources.unit_of_work() as session:
            for owned in running[1:]:
                session.add(owned.workspace)
                owned.workspace.status = WorkspaceStatus.STOPPED
        hanging.release.set()
    assert (await site.ask(other.route, "/", other.cookie)).status_code == 200


async def test_requests_past_the_bound_wait_for_one_that_ends(site: Site) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    async with container(talk) as port:
        owned = await site.own(port=port)
        answers = await asyncio.gather(*(site.ask(owned.route, "/", owned.cookie) for _ in range(4 * IN_FLIGHT)))
    assert {answer.status_code for answer in answers} == {200}


async def test_a_container_that_took_a_request_and_left_is_not_asked_again(site: Site) -> None:
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))

    async with container(talk) as port:
        owned = await site.own(port=port)
        answer = await site.ask(owned.route, "/", owned.cookie)
    assert (answer.status_code, answer.json()["code"], len(asked)) == (503, "workspace_unreachable", 1)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_container_that_never_answers_is_named(site: Site, method: str) -> None:
    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with container(talk) as port:
        owned = await site.own(port=port)
        answer = await site.ask(owned.route, "/", owned.cookie, method)
        assert (answer.status_code, answer.json()["code"]) == (504, "workspace_slow")


@pytest.mark.parametrize("public", [True, False], ids=["api", "workspace"])
@pytest.mark.parametrize(
    ("language", "title"),
    [("de-AT,en;q=0.5", "Zeitüberschreitung beim Hochladen"), ("en,de;q=0.5", "Upload timed out")],
)
async def test_a_body_in_chunks_that_stands_still_is_told_so(
    site: Site, public: bool, language: str, title: str
) -> None:
    owned = await site.own()
    more = f"Transfer-Encoding: chunked\r\nAccept-Language: {language}"
    api = f"POST /api/auth/signup HTTP/1.1\r\nHost: localhost:{site.edge.port}\r\n{more}\r\n\r\n5\r\n{{".encode()
    sent = api if public else head(site, owned, more, method="POST") + b"5\r\n{"
    async with connected(site, sent) as (reader, _), asyncio.timeout(PATIENCE):
        answer = await reader.readuntil(b"}")
        check_problem(answer, 408, "request_stalled")
        assert f'"title":"{title}"'.encode() in answer


async def test_too_many_cookies_are_named_and_deleted(site: Site) -> None:
    owned = await site.own()
    pairs = [f"c{number}={'x' * 3500}" for number in range(20)]
    cookies = {"Cookie": "; ".join([*pairs, owned.cookie["Cookie"], "spawner_workspace=planted"])}
    page = await site.visit(owned.route, "/a/b/c", cookies)
    assert (page.status_code, "cookies" in page.text) == (431, True)
    gone = page.headers.get_list("set-cookie")
    for name in [*(pair.partition("=")[0] for pair in pairs), "spawner_workspace"]:
        for path in {site.path(owned.route), "/", site.path(owned.route, "/a"), site.path(owned.route, "/a/b/")}:
            assert f"{name}=; Path={path}; Max-Age=0" in gone
    assert ("Domain=apps.localhost" in " ".join(gone)) == (site.edge.mode == "host")
    script = await site.ask(owned.route, "/", cookies)
    assert (script.status_code, script.json()["code"], "set-cookie" in script.headers) == (
        431,
        "headers_too_large",
        False,
    )
    assert site.edge.peer.received == []


async def test_large_headers_of_another_kind_delete_nothing(site: Site) -> None:
    owned = await site.own()
    large = {**owned.cookie, "X-Large": "x" * 70_000}
    page = await site.visit(owned.route, "/", large)
    assert (page.status_code, "set-cookie" in page.headers) == (431, False)
    answer = await site.public("/api/user/me", {"Cookie": "a=" + "x" * 70_000})
    assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")
    long = await site.raw(f"localhost:{site.edge.port}", "/" + "x" * 70_000)
    check_problem(long, 431, "headers_too_large")
    assert heads(long, "Server") == []
