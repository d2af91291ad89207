"""Thousands of malformed requests at a real Caddy, the real API and recording containers: `make fuzz` sends more."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from random import Random

from app.gateway.websocket_relay import Relay
from tests.gateway.proxy.attacks import Attacker, Case, Name, fixed, thrown
from tests.gateway.proxy.judge import Ask, Listener, Place, judge
from tests.support.factories import sign_in
from tests.support.proxy import Site
from tests.support.upstream import Arrival, upstream

CASES = int(os.environ.get("FUZZ_CASES", "1000"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "30"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
AT_ONCE = 12
# A server that waits for the rest of a request says nothing for that long.
SILENCE = 0.25


@dataclass(frozen=True, slots=True)
class World:
    """Two users' workspaces behind the edge, and what an attacker holds."""

    site: Site
    places: Sequence[Place]
    listener: Listener
    attacker: Attacker
    secrets: Sequence[str]

    async def send(self, case: Case) -> bytes:
        """Send a case's bytes as they are; what comes back before the connection ends or falls silent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.site.edge.port)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            writer.write(case.sent)
            while True:
                async with asyncio.timeout(SILENCE):
                    piece = await reader.read(65536)
                if not piece:
                    break
                answer += piece
        writer.close()
        return answer


def led_to(relay: Relay, ticket: str) -> int | None:
    """The port that one of the relay's tickets leads to."""
    held = relay._tickets.get(ticket)
    return held[0].port if held else None


@asynccontextmanager
async def world_at(site: Site) -> AsyncIterator[World]:
    """Make alice's and bob's workspaces, each a listener of its own."""
    people = {slug: await sign_in(site.resources, slug) for slug in ("alice", "bob")}
    async with AsyncExitStack() as stack:
        places = []
        for slug, template in (("alice", "hello"), ("alice", "helloevil"), ("alice", "jupyter"), ("bob", "hello")):
            container = await stack.enter_async_context(upstream())
            owned = await site.own(people[slug], template, port=container.port)
            host = site.host(owned.route).partition(":")[0]
            places.append(Place(owned.route, slug, owned.value, container.port, host, container.arrivals))
        opens = [[f"spawner_workspace={place.cookie}"] for place in places]
        session = [f"spawner_session={person.cookie}" for person in people.values()]
        spare = [f"spawner_refresh={secret}" for secret in ("canary-refresh", "canary-browser")]
        cookies = [*opens, *opens, opens[0] + opens[1], opens[0] + session[:1], opens[3] + session + spare, session]
        tokens = [person.access_token for person in people.values()]
        keys = [(place.route, key[0]) for place, key in zip(places, opens, strict=True)] + [("alice", opens[0][0])]
        names = [Name(route, site.host(route), site.path(route)[:-1], key) for route, key in keys]
        port = site.edge.port
        attacker = Attacker(names, f"localhost:{port}", port, cookies, tokens)
        secrets = [place.cookie for place in places] + [person.cookie for person in people.values()]
        listener = Listener(site.edge.api.app or no_app, partial(led_to, site.relay))
        site.edge.api.app = listener
        yield World(site, places, listener, attacker, [*secrets, *tokens, "canary-refresh", "canary-browser"])


async def no_app(*_: object) -> None:
    raise AssertionError("the edge has no API")


async def run(world: World, seed: int, cases: int, until: float) -> dict[int, Case]:
    """Send the fixed plans and then thrown ones, some at once, until the time is over; what was sent."""
    sent: dict[int, Case] = {}
    plans = iter(enumerate(fixed(), start=1))
    numbers = iter(range(len(fixed()) + 1, cases + 1))

    def each() -> Iterator[Case]:
        for number, plan in plans:
            yield world.attacker.case(number, plan, Random(f"{seed}.{number}"))
        for number in numbers:
            dice = Random(f"{seed}.{number}")
            yield world.attacker.case(number, thrown(dice), dice)

    waiting = each()

    async def sender() -> None:
        for case in waiting:
            if time.monotonic() > until:
                return
            sent[case.number] = case
            await world.send(case)

    await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
    return sent


async def test_no_malformed_request_gets_a_credential_an_identity_or_another_container(site: Site) -> None:
    async with world_at(site) as world:
        sent = await run(world, SEED, CASES, time.monotonic() + SECONDS)
        arrived = sum(len(place.arrivals) for place in world.places)
        found = judge(sent, world.places, world.listener.asks, world.secrets)
        print(f"\n{site.edge.mode}: seed {SEED}, {len(sent)} cases, {arrived} reached a container, {len(found)} faults")
        assert not found, "\n".join(found[:10])
        assert arrived > len(sent) / 10
        assert all(place.arrivals for place in world.places)


async def test_the_judge_sees_what_it_looks_for() -> None:
    good = b"GET /?id=1 HTTP/1.1\r\nHost: h:1\r\nX-Spawner-User: alice\r\nX-Forwarded-For: 127.0.0.1\r\n"
    good += b"X-Forwarded-Proto: http\r\nX-Forwarded-Host: h:1\r\n\r\n"
    case = {1: Case(1, "", b"key")}
    ask_headers = [(b"via", b"1.1 Caddy"), (b"x-forwarded-uri", b"/?id=1"), (b"x-forwarded-for", b"127.0.0.1")]
    ask_headers += [(b"x-forwarded-host", b"h:1"), (b"x-forwarded-method", b"GET")]
    ask = Ask("/internal/gateway", tuple(ask_headers), 200, 9)

    def faults(head: bytes, asks: Sequence[Ask] = (ask,), times: int = 1, cookie: str = "key") -> list[str]:
        place = Place("alice-hello", "alice", cookie, 9, "h", [Arrival(head, b"")] * times)
        return judge(case, [place], asks, ["secret"])

    assert faults(good) == []
    assert faults(good, times=2)
    assert faults(good, asks=())
    assert faults(good, cookie="other")
    assert faults(good, asks=[ask, Ask("/internal/gateway", ask.headers[1:], 403, None)])
    assert faults(good, asks=[ask, Ask("/internal/tls", ask.headers, 204, None)])
    for old, new in (
        (b"alice", b"bob"),
        (b"\r\n\r\n", b"\r\nX_Spawner_User: bob\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nX-A: secret\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nX-A: a\nX-B: b\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nCookie: spawner_x=1\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nProxy-Authorization: x\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nUpgrade: h2c\r\n\r\n"),
        (b"127.0.0.1", b"6.6.6.6"),
        (b"h:1", b"other:1"),
        (b"id=1", b"id=2"),
    ):
        assert faults(good.replace(old, new)), new
