"""An engine that is away, frozen, no engine at all, or slow to answer somebody who has stopped waiting."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.runtime.base import EngineUnavailable, Runtime
from app.runtime.docker.calls import call
from app.runtime.docker.objects import confinement_of
from app.runtime.docker.policy import Allowed
from app.runtime.docker.runtime import DockerRuntime
from tests.support.engine import SPEC, VERSION, Peer, Steps, reply
from tests.support.waiting import PATIENCE

WORKSPACE = SPEC.workspace_id


def everything(runtime: Runtime, steps: Steps) -> list[Awaitable[Any]]:
    """One call of each method."""
    return [
        runtime.ping(), runtime.size(), runtime.report(), runtime.check_egress(),
        runtime.ensure_running(SPEC, steps), runtime.ensure_paused("x", WORKSPACE),
        runtime.ensure_stopped("x", WORKSPACE), runtime.ensure_absent("x", WORKSPACE),
        runtime.ensure_network("t", SPEC.network), runtime.remove_network("x"), runtime.remove_volume("x"),
        runtime.image_digest("x"), runtime.status("x"), runtime.usage("x"), runtime.list_owned("t"),
        anext(runtime.logs("x")), anext(runtime.logs("x", follow=True)), anext(runtime.events("t")),
    ]  # fmt: skip


@pytest.mark.parametrize("url", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:9"])
async def test_an_engine_that_is_away_is_unavailable(url: str, steps: Steps) -> None:
    runtime = DockerRuntime(url, publish="never", starts=16)
    for asked in everything(runtime, steps):
        with pytest.raises(EngineUnavailable):
            await asked
    await runtime.aclose()


async def test_a_frozen_engine_is_unavailable_in_time(peer: Peer, steps: Steps) -> None:
    async def nothing(method: str, path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10 * PATIENCE)

    runtime = DockerRuntime(await peer(nothing), publish="never", starts=16, call_seconds=0.3)
    async with asyncio.timeout(PATIENCE):
        for asked in everything(runtime, steps):
            with pytest.raises(EngineUnavailable):
                await asked
    await runtime.aclose()


async def test_what_is_no_engine_is_unavailable(peer: Peer, steps: Steps) -> None:
    async def page(method: str, path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        await writer.drain()

    runtime = DockerRuntime(await peer(page), publish="never", starts=16)
    for asked in everything(runtime, steps):
        with pytest.raises(EngineUnavailable):
            await asked
    await runtime.aclose()


@pytest.mark.parametrize("mistake", [KeyError("key"), TypeError("type")])
async def test_a_mistake_of_our_own_under_a_call_is_not_an_engine_that_is_away(mistake: Exception) -> None:
    async def wrong() -> None:
        raise mistake

    with pytest.raises(type(mistake)):
        await call(wrong())


class SlowEngine:
    """Plays an engine with one of everything that takes its time over changes, and remembers what it was asked."""

    def __init__(self, container: dict[str, Any] | None) -> None:
        self.container = container
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.asked = 0
        self.answered = 0
        self.release = asyncio.Event()

    async def __call__(self, method: str, path: str, writer: asyncio.StreamWriter) -> None:
        if method != "GET":
            self.asked += 1
            self.begun.put_nowait(f"{method} {path.partition('?')[0].split('/', 2)[2]}")
            await self.release.wait()
            self.answered += 1
        writer.write(self._reply(method, path))
        await writer.drain()

    def _reply(self, method: str, path: str) -> bytes:
        labels = {"spawner.instance": "t", "spawner.workspace": str(WORKSPACE), "spawner.network": "workspace"}
        if method != "GET":
            return reply(201, {"Id": "made"}) if path.endswith("/create") or "create?" in path else reply(200, {})
        if path.endswith("/version"):
            return reply(200, VERSION)
        if "/containers/json" in path:
            return reply(200, [])
        if "/networks/t-net-0" in path:
            return reply(404, {"message": "network t-net-0 not found"})
        if "/networks" in path:
            return reply(200, [{"Id": "n", "Name": "x", "Created": "", "Labels": labels}])
        if "/volumes" in path:
            return reply(200, {"Name": "x", "Labels": labels})
        if self.container is None:
            return reply(404, {"message": "No such container"})
        made_as = {"spawner.incarnation": "1", "spawner.confinement": confinement_of(SPEC, Allowed())}
        config = {"Labels": labels | made_as}
        return reply(
            200,
            {
                "Id": "c",
                "Image": "i",
                "Config": config,
                "NetworkSettings": {"Networks": {"t-net-0": {"IPAddress": ""}}},
                **self.container,
            },
        )


def container(state: str) -> dict[str, Any]:
    return {
        "State": {"Status": state, "ExitCode": 0, "OOMKilled": False},
    }


Call = Callable[[DockerRuntime, Steps], Awaitable[Any]]


@pytest.mark.parametrize(
    ("found", "call", "changes"),
    [
        (None, lambda runtime, steps: runtime.ensure_running(SPEC, steps),
         {"POST containers/create", "POST networks/create"}),
        (container("exited"), lambda runtime, steps: runtime.ensure_running(SPEC, steps), {"POST containers/c/start"}),
        (container("paused"), lambda runtime, steps: runtime.ensure_running(SPEC, steps),
         {"POST containers/c/unpause"}),
        (container("running"), lambda runtime, steps: runtime.ensure_paused("x", WORKSPACE),
         {"POST containers/c/pause"}),
        (container("running"), lambda runtime, steps: runtime.ensure_stopped("x", WORKSPACE),
         {"POST containers/c/stop"}),
        (container("paused"), lambda runtime, steps: runtime.ensure_absent("x", WORKSPACE), {"DELETE containers/c"}),
        (None, lambda runtime, steps: runtime.ensure_network("t", SPEC.network), {"POST networks/create"}),
        (None, lambda runtime, steps: runtime.remove_network("x"), {"DELETE networks/x"}),
        (None, lambda runtime, steps: runtime.remove_volume("x"), {"DELETE volumes/x"}),
    ],
)  # fmt: skip
async def test_a_cancelled_change_ends_after_the_engine_has_answered_it(
    peer: Peer, steps: Steps, found: dict[str, Any] | None, call: Call, changes: set[str]
) -> None:
    engine = SlowEngine(found)
    runtime = DockerRuntime(await peer(engine), publish="never", starts=16)
    asking = asyncio.ensure_future(call(runtime, steps))
    assert {await engine.begun.get() for _ in changes} == changes
    for _ in range(2):
        asking.cancel()
        done, _ = await asyncio.wait({asking}, timeout=0.05)
        assert not done
    engine.release.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert engine.answered == engine.asked == len(changes)
    await runtime.aclose()


async def test_a_cancelled_change_waits_no_longer_than_the_engine_may_take(peer: Peer, steps: Steps) -> None:
    engine = SlowEngine(None)
    runtime = DockerRuntime(await peer(engine), publish="never", starts=16, call_seconds=0.3)
    asking = asyncio.ensure_future(runtime.ensure_network("t", SPEC.network))
    await engine.begun.get()
    asking.cancel()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(asyncio.CancelledError):
            await asking
    await runtime.aclose()


async def test_a_cancelled_look_ends_at_once(peer: Peer) -> None:
    looking = asyncio.Event()

    async def frozen(method: str, path: str, writer: asyncio.StreamWriter) -> None:
        if path.endswith("/version"):
            writer.write(reply(200, VERSION))
            await writer.drain()
            return
        looking.set()
        await asyncio.sleep(10 * PATIENCE)

    runtime = DockerRuntime(await peer(frozen), publish="never", starts=16)
    asking = asyncio.ensure_future(runtime.status("x"))
    await looking.wait()
    asking.cancel()
    done, _ = await asyncio.wait({asking}, timeout=1)
    assert done
    await runtime.aclose()


async def test_endpoints_of_containers_that_are_gone_do_not_keep_a_network(peer: Peer) -> None:
    labels, endpoints, asked = {"spawner.instance": "t", "spawner.network": "workspace"}, {"ep-1"}, list[bytes]()

    async def engine(method: str, path: str, writer: asyncio.StreamWriter) -> None:
        if path.endswith("/version"):
            answer = reply(200, VERSION)
        elif method == "DELETE":
            answer = reply(403, {"message": "network x has active endpoints"}) if endpoints else reply(200, {})
            asked.append(b"delete")
        elif path.endswith("/disconnect"):
            endpoints.clear()
            answer = reply(200, {})
        elif "/containers/json" in path:
            answer = reply(200, [])
        elif path.endswith("/networks/x"):
            answer = reply(200, {"Containers": {item: {"Name": "alice"} for item in endpoints}})
        else:
            answer = reply(200, [{"Id": "n", "Name": "x", "Created": "", "Labels": labels}])
        writer.write(answer)
        await writer.drain()

    runtime = DockerRuntime(await peer(engine), publish="never", starts=16)
    await runtime.remove_network("x")
    assert (endpoints, len(asked)) == (set(), 2)
    await runtime.aclose()


async def test_an_engine_whose_view_of_a_pause_is_behind_is_asked_again(peer: Peer, steps: Steps) -> None:
    """As two calls at once make it, seldom: the engine still calls paused what another call has just woken."""
    looks = iter([container("paused"), container("running")])
    engine = SlowEngine(None)

    async def behind(method: str, path: str, writer: asyncio.StreamWriter) -> None:
        if path.endswith("/unpause"):
            message = "Cannot unpause container c: cannot resume a running process: unknown"
            writer.write(reply(500, {"message": message}))
            await writer.drain()
            return
        if path.endswith("/containers/t-peer/json"):
            address = {"Networks": {"t-net-0": {"IPAddress": "10.214.0.2"}}}
            engine.container = next(looks) | {"NetworkSettings": address}
        await engine(method, path, writer)

    runtime = DockerRuntime(await peer(behind), publish="never", starts=16)
    assert (await runtime.ensure_running(SPEC, steps)).host == "10.214.0.2"
    await runtime.aclose()


async def test_a_container_that_a_killed_engine_left_half_started_is_made_anew(peer: Peer, steps: Steps) -> None:
    """Its start fails for ever: `task c: already exists`."""
    engine, done = SlowEngine(container("exited")), []
    engine.release.set()

    async def half_started(method: str, path: str, writer: asyncio.StreamWriter) -> None:
        if method != "GET":
            done.append(f"{method} {path.partition('?')[0].split('/', 2)[2]}")
        if path.endswith("/containers/c/start"):
            writer.write(reply(500, {"message": "task c: already exists"}))
            await writer.drain()
            return
        if method == "DELETE":
            engine.container = None
        if path.endswith("/containers/made/start"):
            address = {"Networks": {"t-net-0": {"IPAddress": "10.214.0.2"}}}
            engine.container = container("running") | {"NetworkSettings": address}
        await engine(method, path, writer)

    runtime = DockerRuntime(await peer(half_started), publish="never", starts=16)
    assert (await runtime.ensure_running(SPEC, steps)).host == "10.214.0.2"
    assert done[:2] == ["POST containers/c/start", "DELETE containers/c"]
    assert done[-1] == "POST containers/made/start"
    await runtime.aclose()
