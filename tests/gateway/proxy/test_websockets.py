"""Websockets through a real Caddy and the relay: they end with what let their visitor in, and pass as they are."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from sqlalchemy import delete, update
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.typing import Subprotocol

from app.gateway.websocket_relay import Relay
from app.models import Session, Share, User, Workspace, WorkspaceStatus, utcnow
from tests.support.proxy import APART, Owned, Site
from tests.support.sockets import last, socket_to

# The relay asks each second; a busy machine may take some more to say so.
LIMIT = 20.0
SHARED = {"share_revoked", "share_expired", "owner_blocked", "demoted"}


@pytest.fixture
def relay(site: Site) -> Relay:
    """The process's relay."""
    return site.relay


def ends(visitor: Owned, owner: Owned) -> dict[str, object]:
    """A statement for each way in which somebody's right to a workspace ends."""
    session, user, workspace = visitor.owner.session.id, visitor.owner.user.id, owner.workspace.id
    mine = update(Session).where(Session.id == session)
    share = update(Share).where(Share.workspace_id == workspace)
    row = update(Workspace).where(Workspace.id == workspace)
    return {
        "logout": mine.values(ended_at=utcnow()),
        "expiry": mine.values(expires_at=utcnow()),
        "block": update(User).where(User.id == user).values(blocked_at=utcnow()),
        "deletion": delete(User).where(User.id == user),
        "workspace_stopped": row.values(status=WorkspaceStatus.STOPPED, host=None, port=None),
        "workspace_replaced": row.values(revision=2),
        "share_revoked": share.values(revoked_at=utcnow()),
        "share_expired": share.values(expires_at=utcnow()),
        "owner_blocked": update(User).where(User.id == owner.owner.user.id).values(blocked_at=utcnow()),
        "demoted": update(User).where(User.id == user).values(is_admin=False),
    }


ENDS = [
    "logout", "expiry", "block", "deletion", "workspace_stopped", "workspace_replaced", "share_revoked",
    "share_expired", "owner_blocked", "demoted",
]  # fmt: skip


async def guests(site: Site, end: str, number: int) -> tuple[Owned, Owned]:
    """A visitor and whose workspace they are in: their own, or one that was shared with them."""
    owner = await site.own(f"u{number}")
    if end not in SHARED:
        return owner, owner
    visitor = await site.visitor(owner, f"v{number}", reason="because" if end == "demoted" else None)
    return visitor, owner


async def test_a_websocket_ends_soon_after_whatever_ends_its_right(site: Site) -> None:
    wanted = [end for end in ENDS if end not in SHARED or site.settings.host_mode]
    pairs = [await guests(site, end, number) for number, end in enumerate(wanted)]
    stays = await site.own("stays")
    async with AsyncExitStack() as stack:
        connections: list[ClientConnection] = [
            await stack.enter_async_context(socket_to(site, visitor, site.origin(visitor.route)))
            for visitor, _ in [*pairs, (stays, stays)]
        ]
        for connection in connections:
            await connection.send("hello")
            assert await connection.recv() == "hello"
        await site.resources.redis.flushall()
        async with site.resources.unit_of_work() as session:
            for end, pair in zip(wanted, pairs, strict=True):
                await session.execute(ends(*pair)[end])  # type: ignore[call-overload]
        began = time.monotonic()
        for end, connection in zip(wanted, connections, strict=False):
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(connection.recv(), LIMIT)
            assert time.monotonic() - began < LIMIT, end
        await connections[-1].send("still here")
        assert await connections[-1].recv() == "still here"


async def test_another_session_of_the_same_account_keeps_its_websocket(site: Site) -> None:
    first = await site.own()
    second = await site.cookie(first.owner.user, first)
    async with (
        socket_to(site, first, site.origin(first.route)) as ended,
        socket_to(site, second, site.origin(first.route)) as stays,
    ):
        async with site.resources.unit_of_work() as session:
            await session.execute(ends(first, first)["logout"])  # type: ignore[call-overload]
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(ended.recv(), LIMIT)
        await stays.send("hello")
        assert await stays.recv() == "hello"


async def test_at_shutdown_websockets_are_closed_and_none_is_let_in(site: Site, relay: Relay) -> None:
    owned = await site.own()
    async with socket_to(site, owned, site.origin(owned.route)) as connection:
        relay.close()
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(connection.recv(), LIMIT)
    with pytest.raises(InvalidStatus) as refused:
        await socket_to(site, owned, site.origin(owned.route)).__aenter__()
    assert refused.value.response.status_code == 503
    assert (await site.ask(owned.route, "/", owned.cookie)).status_code == 200


async def test_nothing_of_the_relay_reaches_the_container(site: Site, relay: Relay) -> None:
    owned = await site.own()
    headers = {"X-Spawner-Ticket": "mine", "X_Spawner_Ticket": "mine", "Connection": "X-Spawner-Ticket"}
    async with socket_to(site, owned, site.origin(owned.route)) as connection:
        await connection.send("hello")
        assert await connection.recv() == "hello"
        assert len(relay) == 1
    assert {name for name, _ in last(site).headers if "spawner" in name} == {"x-spawner-user"}
    await site.ask(owned.route, "/", {**owned.cookie, **headers})
    assert {name for name, _ in last(site).headers if "spawner" in name} == {"x-spawner-user"}


async def test_a_websocket_is_asked_for_by_get(site: Site) -> None:
    owned = await site.own()
    lines = [
        f"Cookie: {owned.cookie['Cookie']}", f"Origin: {site.origin(owned.route)}", "Upgrade: websocket",
        "Content-Length: 1",
    ]  # fmt: skip
    for method, status in (("POST", b"405"), ("GET", b"403")):
        answer = await site.raw(site.host(owned.route), site.path(owned.route), lines, method=method)
        assert answer.startswith(b"HTTP/1.1 " + status), answer
    assert site.edge.peer.received == []


Serving = Callable[[ServerConnection], Awaitable[None]]


@pytest.fixture
async def container(site: Site) -> AsyncIterator[Owned]:
    """Alice's workspace, whose container speaks for itself."""

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, subprotocols=[Subprotocol("terminal")], max_size=None) as server:
        owned = await site.own()
        async with site.resources.unit_of_work() as session:
            session.add(owned.workspace)
            owned.workspace.port = server.sockets[0].getsockname()[1]
        yield owned


async def test_frames_extensions_and_subprotocols_pass_as_they_are(site: Site, container: Owned) -> None:
    url = f"ws://{site.host(container.route)}{site.path(container.route, '/ws')}"
    big, text = os.urandom(8 * 2**20), "ß" * 2**20
    async with connect(
        url,
        host="127.0.0.1",
        port=site.edge.port,
        additional_headers={**container.cookie, "Origin": site.origin(container.route)},
        subprotocols=[Subprotocol("other"), Subprotocol("terminal")],
        max_size=None,
        proxy=None,
    ) as connection:
        assert connection.subprotocol == "terminal"
        assert [type(extension) for extension in connection.protocol.extensions] == [PerMessageDeflate]
        for message in (big, text, ""):
            await connection.send(message)
            assert await connection.recv() == message


async def test_a_container_that_refuses_is_passed_on(site: Site, container: Owned) -> None:
    lines = [
        f"Cookie: {container.cookie['Cookie']}", f"Origin: {site.origin(container.route)}", "Connection: Upgrade",
        "Upgrade: websocket", "Sec-WebSocket-Version: 1",
    ]  # fmt: skip
    answer = await site.raw(site.host(container.route), site.path(container.route), lines)
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert b"Server: Python" in answer


async def test_a_container_that_is_gone_is_named_to_a_websocket_too(site: Site, container: Owned) -> None:
    async with site.resources.unit_of_work() as session:
        session.add(container.workspace)
        container.workspace.port = 1
    with pytest.raises(InvalidStatus) as refused:
        await socket_to(site, container, site.origin(container.route)).__aenter__()
    assert refused.value.response.status_code == 503
    assert b"workspace_unreachable" in (refused.value.response.body or b"")


@APART
async def test_a_revoked_share_is_refused_at_the_next_request(site: Site) -> None:
    owner = await site.own()
    visitor = await site.visitor(owner, "bob")
    assert (await site.ask(visitor.route, "/", visitor.cookie)).status_code == 200
    assert last(site).get("x-spawner-user") == ["bob"]
    async with site.resources.unit_of_work() as session:
        await session.execute(update(Share).values(expires_at=utcnow() - timedelta(seconds=1)))
    assert (await site.ask(visitor.route, "/", visitor.cookie)).status_code == 401
    assert (await site.ask(owner.route, "/", owner.cookie)).status_code == 200
