"""A way to Redis that hangs, is slow, or breaks, as a test wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class RedisProxy:
    """A port that leads to Redis. While `answering` is not set it takes everything and answers nothing; each answer
    takes `delay` seconds more.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.delay = 0.0
        self.asked = 0
        self.answering = asyncio.Event()
        self.answering.set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Listen; after a stop, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections, and break those that are open."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        from_redis, to_redis = await asyncio.open_unix_connection(self._path)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._ask(reader, to_redis))
                both.create_task(self._answer(from_redis, writer))
        except* OSError:
            pass
        finally:
            self._tasks.discard(task)
            to_redis.close()
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self.asked += 1
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self.answering.wait()
            await asyncio.sleep(self.delay)
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def redis_proxy(url: str) -> AsyncIterator[RedisProxy]:
    """Lead to the server at a `unix://` address."""
    proxy = RedisProxy(urlsplit(url).path)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
