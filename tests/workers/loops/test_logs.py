"""Logs on their way from the engine to their owner: in order, bounded, and with nothing left behind."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack

import pytest
from fastapi import FastAPI
from sqlalchemy import update

from app.core.settings.model import Settings
from app.models import Session, WorkspaceStatus, utcnow
from app.resources import Resources
from app.workspaces import logs as protocol
from app.workspaces.errors import TooManyStreams
from tests.api.conftest import NO_REDIS, serving
from tests.api.streaming import Sent, Served, another, eventually, make_workspace, served
from tests.support.clocks import Time
from tests.support.factories import SignedIn, sign_in
from tests.support.logs import (
    FOLLOW,
    LOGS,
    LoggingRuntime,
    breaks,
    forever,
    keys_left,
    lines,
    nothing_left,
    numbered,
    texts,
    working,
)
from tests.support.waiting import PATIENCE
from workers.loops import logs


@pytest.fixture
def engine() -> LoggingRuntime:
    return LoggingRuntime()


@pytest.fixture
async def api(app: FastAPI, resources: Resources, alice: SignedIn) -> AsyncIterator[Served]:
    """The API for alice, whose workspace runs."""
    await make_workspace(resources, alice.user)
    async with served(app, alice) as opened:
        yield opened


@pytest.fixture
async def worker(settings: Settings, resources: Resources, engine: LoggingRuntime) -> AsyncIterator[None]:
    async with working(settings, resources, engine):
        yield


async def test_the_last_lines_come_whole_in_order_and_nothing_is_left(
    api: Served, worker: None, engine: LoggingRuntime, resources: Resources, settings: Settings
) -> None:
    engine.source = numbered(1500)
    answer = await api.get(f"{LOGS}?tail=1500")
    assert answer.json() == {"lines": [f"line {number}" for number in range(1500)]}
    assert engine.asked == [(f"{settings.instance}-alice-hello", 1500, False)]
    await nothing_left(resources)
    assert engine.open == 0


async def test_two_hundred_lines_are_asked_for_unless_told(api: Served, worker: None, engine: LoggingRuntime) -> None:
    assert (await api.get(LOGS)).json() == {"lines": []}
    assert engine.asked[0][1:] == (200, False)


@pytest.mark.parametrize("tail", ["-1", "2001", "many"])
async def test_a_tail_out_of_bounds_is_refused(api: Served, tail: str) -> None:
    answer = await api.get(f"{LOGS}?tail={tail}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "tail")


async def test_followed_lines_come_in_order_with_ids_that_grow_until_the_container_ends(
    api: Served, worker: None, engine: LoggingRuntime, resources: Resources
) -> None:
    engine.source = numbered(700)
    async with api.stream(FOLLOW) as stream:
        assert stream.response.headers["Content-Type"].startswith("text/event-stream")
        events = await stream.rest()
    assert texts(events) == [f"line {number}" for number in range(700)]
    ids = [tuple(map(int, event.id.split("-"))) for event in events[:-1]]
    assert ids == sorted(set(ids))
    assert events[-1] == Sent("end", "{}", "end")
    assert (await api.get(FOLLOW, seen="end")).status_code == 204
    await nothing_left(resources)


async def test_a_line_comes_when_it_is_written(api: Served, worker: None, engine: LoggingRuntime) -> None:
    written: asyncio.Queue[str] = asyncio.Queue()

    async def source(tail: int) -> AsyncGenerator[str, None]:
        while True:
            yield await written.get()

    engine.source = source
    async with api.stream(FOLLOW) as stream:
        for text in ("one", "two"):
            written.put_nowait(text)
            assert texts(await lines(stream, 1)) == [text]


async def test_a_reader_that_is_slow_holds_the_worker_back_and_misses_nothing(
    worker: None, engine: LoggingRuntime, resources: Resources, alice: SignedIn, app: FastAPI
) -> None:
    await make_workspace(resources, alice.user)
    engine.source = numbered(5000)
    request = protocol.LogRequest(
        workspace_id=await protocol.find_logged(resources, alice.user.id, "hello"), tail=0, follow=True
    )
    reading = protocol._read(resources, alice.user.id, request)
    assert await anext(reading) == []
    read = -1
    async with asyncio.timeout(PATIENCE):
        while read != engine.read or read < logs.MAX_BEHIND:
            read = engine.read
            await asyncio.sleep(0.5)
    assert read <= logs.MAX_BEHIND + 3 * logs.BATCH
    [stream] = [key for key in await keys_left(resources) if await resources.redis.type(key) == b"stream"]
    assert await resources.redis.xlen(stream) <= logs.MAX_BEHIND + logs.BATCH
    got = [line.text async for batch in reading for line in batch]
    assert got == [f"line {number}" for number in range(5000)]


async def test_a_reader_that_goes_away_ends_the_reading_and_leaves_nothing(
    api: Served, worker: None, engine: LoggingRuntime, resources: Resources
) -> None:
    engine.source = numbered(10, then=forever)
    async with api.stream(FOLLOW) as stream:
        await lines(stream, 10)
        assert engine.open == 1
        for key in await keys_left(resources):
            assert 0 < await resources.redis.ttl(key) <= 30, key
    await eventually(lambda: engine.open == 0)
    await nothing_left(resources)


async def test_a_reader_that_dies_ends_the_reading(
    api: Served, worker: None, engine: LoggingRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: object) -> None:
        """Let the reader's key expire."""

    monkeypatch.setattr(protocol, "_stay", dies)
    monkeypatch.setattr(protocol, "SIDE_LIFE", 1)
    engine.source = numbered(1, then=forever)
    async with api.stream(FOLLOW) as stream:
        await lines(stream, 1)
        assert engine.open == 1
        await eventually(lambda: engine.open == 0)


async def test_without_a_worker_the_log_is_unavailable_in_time(api: Served, resources: Resources) -> None:
    async with asyncio.timeout(PATIENCE):
        answers = await asyncio.gather(api.get(LOGS), api.get(FOLLOW))
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "logs_unavailable")
        assert answer.headers["Retry-After"] == "5"
    assert await keys_left(resources) == []


async def test_without_redis_the_service_is_unavailable(
    settings: Settings, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user)
    async with serving(settings.model_copy(update={"redis_url": NO_REDIS})) as client:
        for path in (LOGS, FOLLOW):
            answer = await client.get(path, headers=alice.headers)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_an_engine_that_does_not_answer_makes_the_log_unavailable_at_once(
    api: Served, worker: None, engine: LoggingRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "ANSWER_SECONDS", 2 * PATIENCE)
    engine.fails = True
    async with asyncio.timeout(PATIENCE):
        for path in (LOGS, FOLLOW):
            answer = await api.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "logs_unavailable")


async def test_an_engine_that_breaks_off_is_no_end_of_the_log(
    api: Served, worker: None, engine: LoggingRuntime
) -> None:
    engine.source = numbered(3, then=breaks)
    assert (await api.get(LOGS)).status_code == 503
    async with api.stream(FOLLOW) as stream:
        assert [event.name for event in await stream.rest()] == ["log"] * 3


async def test_one_worker_of_several_reads(
    api: Served, worker: None, engine: LoggingRuntime, settings: Settings, resources: Resources
) -> None:
    engine.source = numbered(5)
    async with working(settings, resources, engine), working(settings, resources, engine):
        assert len((await api.get(LOGS)).json()["lines"]) == 5
    assert len(engine.asked) == 1


async def test_when_its_worker_stops_the_stream_ends_and_another_worker_takes_the_next(
    api: Served, engine: LoggingRuntime, settings: Settings, resources: Resources
) -> None:
    engine.source = numbered(2, then=forever)
    async with AsyncExitStack() as first:
        await first.enter_async_context(working(settings, resources, engine))
        async with api.stream(FOLLOW) as stream:
            await lines(stream, 2)
            await first.aclose()
            assert await stream.rest(seconds=3) == []
    async with working(settings, resources, engine), api.stream(FOLLOW) as stream:
        assert len(await lines(stream, 2)) == 2
    assert engine.open == 0


async def test_an_account_reads_a_few_logs_at_once_over_all_processes(
    api: Served, worker: None, engine: LoggingRuntime, settings: Settings, resources: Resources, alice: SignedIn
) -> None:
    engine.source = numbered(1, then=forever)
    async with AsyncExitStack() as exits:
        other = await exits.enter_async_context(another(settings, alice))
        await exits.enter_async_context(working(settings, resources, engine))
        askers = [(api, other)[number % 2] for number in range(protocol.MAX_READINGS)]
        streams = [await exits.enter_async_context(asker.stream(FOLLOW)) for asker in askers]
        for stream in streams:
            await lines(stream, 1)
        for who, path in ((api, LOGS), (other, FOLLOW)):
            refused = await who.get(path)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
            assert refused.headers["Retry-After"] == "5"
    await eventually(lambda: engine.open == 0)
    engine.source = numbered(1)
    assert (await api.get(LOGS)).status_code == 200
    await nothing_left(resources)


async def test_readings_of_a_process_that_died_are_counted_no_longer_than_they_could_live(
    resources: Resources, alice: SignedIn, time: Time
) -> None:
    key = protocol.readings_key(resources.settings.instance, alice.user.id)
    for number in range(protocol.MAX_READINGS):
        await protocol._count(resources.redis, key, f"dead {number}")
    with pytest.raises(TooManyStreams):
        await protocol._count(resources.redis, key, "one more")
    assert await resources.redis.zcard(key) == protocol.MAX_READINGS
    time.pass_(seconds=protocol.COUNT_LIFE + 1)
    await protocol._count(resources.redis, key, "one more")
    assert await resources.redis.zcard(key) == 1


async def test_what_waits_for_a_slow_reader_is_bounded_in_bytes(
    worker: None, engine: LoggingRuntime, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user)
    long = "ü" * logs.LINE_CHARACTERS

    async def source(tail: int) -> AsyncGenerator[str, None]:
        for _ in range(600):
            yield long

    engine.source = source
    request = protocol.LogRequest(
        workspace_id=await protocol.find_logged(resources, alice.user.id, "hello"), tail=0, follow=True
    )
    reading = protocol._read(resources, alice.user.id, request)
    assert await anext(reading) == []
    read = -1
    async with asyncio.timeout(PATIENCE):
        while read != engine.read or not read:
            read = engine.read
            await asyncio.sleep(0.5)
    [stream] = [key for key in await keys_left(resources) if await resources.redis.type(key) == b"stream"]
    held = sum(len(value) for _, fields in await resources.redis.xrange(stream) for value in fields.values())
    assert 0 < held <= 2 * logs.MAX_BEHIND_BYTES
    assert [line.text async for batch in reading for line in batch] == [long] * 600


async def test_an_answer_with_a_log_is_bounded_in_bytes_and_keeps_the_last_lines(
    api: Served, worker: None, engine: LoggingRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_BYTES", 50)
    engine.source = numbered(100)
    assert (await api.get(LOGS)).json()["lines"] == [f"line {number}" for number in range(93, 100)]


async def test_the_stream_ends_when_the_process_is_told_to_stop(
    api: Served, worker: None, engine: LoggingRuntime, app: FastAPI
) -> None:
    engine.source = numbered(1, then=forever)
    async with api.stream(FOLLOW) as stream:
        await lines(stream, 1)
        app.state.watch.close()
        assert await stream.rest(seconds=3) == []


async def test_the_stream_ends_once_the_session_has_ended(
    api: Served, worker: None, engine: LoggingRuntime, resources: Resources
) -> None:
    engine.source = numbered(1, then=forever)
    async with api.stream(FOLLOW) as stream:
        await lines(stream, 1)
        async with resources.unit_of_work() as session:
            await session.execute(update(Session).values(ended_at=utcnow()))
        assert await stream.rest(seconds=5) == []


async def test_a_quiet_log_is_kept_alive_and_ends_after_its_time(
    api: Served, worker: None, engine: LoggingRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "KEEP_ALIVE_SECONDS", 1)
    monkeypatch.setattr(protocol, "MAX_SECONDS", 5)
    engine.source = numbered(0, then=forever)
    async with api.stream(FOLLOW) as stream:
        comments = 0
        while (sent := await stream.next()) is not None:
            assert sent == Sent("", "", "")
            comments += 1
    assert comments >= 2


async def test_lines_come_without_secrets_and_control_characters_and_not_endlessly_long(
    api: Served, worker: None, engine: LoggingRuntime, settings: Settings
) -> None:
    long = "x" * 4090 + settings.secret_key

    async def source(tail: int) -> AsyncGenerator[str, None]:
        for line in (f"key={settings.secret_key}!", "a\tb\x00c\x1b[0m\r", "<b>ü", long, ""):
            yield line

    engine.source = source
    assert (await api.get(LOGS)).json()["lines"] == [
        "key=[removed]!",
        "a\tb\ufffdc\ufffd[0m",
        "<b>ü",
        "x" * 4090 + "[remov …",
        "",
    ]


async def test_what_was_never_launched_has_no_log(
    api: Served, resources: Resources, alice: SignedIn, app: FastAPI
) -> None:
    bob = await sign_in(resources, "bob")
    await make_workspace(resources, alice.user, WorkspaceStatus.NOT_CREATED, template="jupyter")
    async with served(app, bob) as foreign:
        for who, path in ((foreign, LOGS), (foreign, FOLLOW), (api, "/api/container/jupyter/logs")):
            answer = await who.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "no_container")
    answer = await api.get("/api/container/nonsense/logs")
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_template")
