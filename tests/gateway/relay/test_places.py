"""How many places the relay has, who takes one, and when it is free again."""

import asyncio
import resource
import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
import structlog
from structlog.testing import capture_logs

from app.core.errors import Unavailable
from app.core.settings.model import Settings
from app.gateway import websocket_relay as relays
from app.gateway.authorization import SessionGrant
from app.gateway.errors import TooManySockets
from app.gateway.tunnel import Tunnel
from app.gateway.websocket_relay import Relay, _file_limit
from app.resources import Resources
from tests.support.waiting import PATIENCE

ENTRY, OTHER = SessionGrant(uuid4(), uuid4(), 1, uuid4()), SessionGrant(uuid4(), uuid4(), 1, uuid4())


class Clock:
    """The monotonic clock, which stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(relays, "time", made)
    return made


class Quiet:
    """A transport that takes everything."""

    def __init__(self) -> None:
        self.ended = ""

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = self.ended or "aborted"


def connect(relay: Relay) -> Tunnel:
    """A connection that has said nothing yet."""
    tunnel: Tunnel = relay._accept().tunnel  # type: ignore[attr-defined]
    tunnel.near.transport = Quiet()  # type: ignore[assignment]
    return tunnel


def admit(relay: Relay, entry: SessionGrant = ENTRY) -> Tunnel:
    """A connection that has shown its ticket."""
    ticket = relay.issue(entry, "127.0.0.1", 1).ticket
    tunnel = connect(relay)
    tunnel.admission = relay._redeem(tunnel, ticket)
    assert tunnel.admission is not None
    return tunnel


def ended(tunnel: Tunnel) -> str:
    return tunnel.near.transport.ended  # type: ignore[attr-defined,no-any-return]


async def test_a_ticket_names_its_container_and_is_good_once(relay: Relay) -> None:
    passage = relay.issue(ENTRY, "10.0.0.7", 8888)
    assert passage.upstream == relay.address
    assert len(passage.ticket) == 43
    tunnel = connect(relay)
    found = relay._redeem(tunnel, passage.ticket)
    assert found is not None
    assert (found.entry, found.host, found.port) == (ENTRY, "10.0.0.7", 8888)
    assert relay._redeem(connect(relay), passage.ticket) is None
    assert len(relay) == 1


async def test_a_ticket_ends_after_ten_seconds(relay: Relay, clock: Clock) -> None:
    early, late = (relay.issue(ENTRY, "127.0.0.1", 1).ticket for _ in range(2))
    clock.now += 9.999
    assert relay._redeem(connect(relay), early) is not None
    clock.now += 0.001
    assert relay._redeem(connect(relay), late) is None


async def test_each_account_has_its_places_over_all_its_sessions_and_workspaces(relay: Relay, clock: Clock) -> None:
    most = Settings.model_fields["user_websockets"].default
    for number in range(most // 2):
        admit(relay, SessionGrant(uuid4(), uuid4(), number, ENTRY.visitor_id))
        relay.issue(ENTRY, "127.0.0.1", 1)
    again = SessionGrant(uuid4(), uuid4(), 1, ENTRY.visitor_id)
    with pytest.raises(TooManySockets) as refused:
        relay.issue(again, "127.0.0.1", 1)
    assert refused.value.headers == {"Retry-After": "5"}
    relay.issue(OTHER, "127.0.0.1", 1)
    clock.now += 10
    relay.issue(again, "127.0.0.1", 1)


async def test_a_few_accounts_leave_places_for_others(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "_file_limit", lambda: relays.SPARE + 3 * 100)
    relay = Relay()
    async with relay.running(resources):
        for _ in range(4):
            greedy = uuid4()
            for _ in range(100):
                with suppress(TooManySockets):
                    admit(relay, SessionGrant(uuid4(), uuid4(), 1, greedy))
        assert len(relay) < 100
        for _ in range(5):
            relay.issue(OTHER, "127.0.0.1", 1)


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_place_is_free_once_its_connection_has_ended_however_often_that_is_said(relay: Relay, how: str) -> None:
    first, second = admit(relay), admit(relay)
    assert len(relay) == 2
    for _ in range(2):
        getattr(first, how)()
        assert (len(relay), len(relay._open[ENTRY])) == (1, 1)
    second.close()
    assert (len(relay), dict(relay._open)) == (0, {})


async def test_all_places_together_leave_some_file_descriptors(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "_file_limit", lambda: relays.SPARE + 11)
    monkeypatch.setattr(relays, "log", structlog.get_logger())
    relay = Relay()
    async with relay.running(resources):
        admit(relay)
        connect(relay)
        relay.issue(OTHER, "127.0.0.1", 1)
        with capture_logs() as logs, pytest.raises(Unavailable):
            relay.issue(OTHER, "127.0.0.1", 1)
    assert logs == [{"event": "relay_full", "open": 1, "log_level": "error"}]


async def test_of_those_without_a_ticket_the_oldest_makes_room(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "MAX_WAITING", 2)
    first, second = connect(relay), connect(relay)
    assert (ended(first), ended(second)) == ("", "")
    third = connect(relay)
    assert (ended(first), ended(second), ended(third)) == ("aborted", "", "")
    admitted = admit(relay)
    assert (ended(second), ended(admitted)) == ("aborted", "")
    connect(relay)
    assert (ended(third), ended(admitted)) == ("", "")


async def test_a_relay_that_is_closed_ends_all_and_issues_nothing(relay: Relay) -> None:
    waiting, admitted = connect(relay), admit(relay)
    left = relay.issue(ENTRY, "127.0.0.1", 1).ticket
    for _ in range(2):
        relay.close()
    assert (ended(waiting), ended(admitted)) == ("closed", "closed")
    assert relay._redeem(connect(relay), left) is None
    with pytest.raises(Unavailable):
        relay.issue(ENTRY, "127.0.0.1", 1)


async def test_one_that_does_not_listen_issues_nothing() -> None:
    relay = Relay()
    assert relay.address == ""
    with pytest.raises(Unavailable):
        relay.issue(ENTRY, "127.0.0.1", 1)


@pytest.mark.parametrize(
    ("bind", "host", "address"),
    [("127.0.0.1", "", "127.0.0.1:"), ("127.0.0.1", "api", "api:"), ("127.0.0.1", "fd00::1", "[fd00::1]:")],
)
async def test_the_proxy_is_told_where_it_listens(resources: Resources, bind: str, host: str, address: str) -> None:
    resources.settings.relay_bind, resources.settings.relay_host = bind, host
    relay = Relay()
    async with relay.running(resources):
        assert relay.address.startswith(address)
        port = int(relay.address.rpartition(":")[2])
        _, waiting = await asyncio.open_connection(bind, port)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(bind, port)
    waiting.close()


async def test_a_look_ends_whom_it_does_not_find(relay: Relay, resources: Resources, monkeypatch: Any) -> None:
    asked: list[list[SessionGrant]] = []

    async def still_held(_: Resources, entries: list[SessionGrant]) -> set[SessionGrant]:
        asked.append(entries)
        return {OTHER}

    monkeypatch.setattr(relays, "still_held", still_held)
    monkeypatch.setattr(relays, "log", structlog.get_logger())
    await relay.check_open(resources)
    assert asked == []
    gone, kept = [admit(relay) for _ in range(2)], admit(relay, OTHER)
    with capture_logs() as logs:
        await relay.check_open(resources)
    assert asked == [[ENTRY, OTHER]]
    assert [ended(tunnel) for tunnel in (*gone, kept)] == ["aborted", "aborted", ""]
    told = {"event": "websockets_ended", "count": 2, "workspace_id": str(ENTRY.workspace_id), "log_level": "info"}
    assert logs == [told]
    assert len(relay) == 1


async def test_every_second_what_is_open_is_asked_for(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    async def still_held(_: Resources, entries: list[SessionGrant]) -> set[SessionGrant]:
        asked.append(time.monotonic())
        return set(entries)

    monkeypatch.setattr(relays, "still_held", still_held)
    monkeypatch.setattr(relays, "LOOK_SECONDS", 0.05)
    relay = Relay()
    async with relay.running(resources):
        tunnel = admit(relay)
        async with asyncio.timeout(PATIENCE):
            while len(asked) < 3:
                await asyncio.sleep(0.01)
        assert ended(tunnel) == ""
        assert asked[2] - asked[1] >= 0.04
    assert ended(tunnel) != ""


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        most = before[1] if before[1] != resource.RLIM_INFINITY else 1 << 20
        assert _file_limit() == most
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
