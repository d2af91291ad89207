"""Connections to PostgreSQL that all tests of a process share."""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from app.core.db import make_engine
from app.core.reader import Reader
from app.core.settings.model import Settings


class Engines:
    """Engines for writes and for reads. Connections, and what was compiled and prepared, outlive a test."""

    def __init__(self) -> None:
        self._engines: dict[tuple[str, str, int], AsyncEngine] = {}
        self._connections: WeakSet[ConnectionPoolEntry] = WeakSet()

    @contextmanager
    def lend(self, settings: Settings) -> Iterator[tuple[AsyncEngine, Reader]]:
        """Yield engine and reader over shared connections. Listeners on the engine end with the test."""
        reads = settings.read_connections
        reader = Reader(self._engine("reads", settings.database_url, reads), reads)
        yield self._engine("writes", settings.database_url, settings.database_pool - reads), reader
        reader.release()

    def _engine(self, purpose: str, url: str, size: int) -> AsyncEngine:
        key = (purpose, url, size)
        if key not in self._engines:
            self._engines[key] = make_engine(url, pool_size=size)
            event.listen(self._engines[key].sync_engine, "checkin", self._note)
        return self._engines[key].execution_options()

    def _note(self, _: DBAPIConnection | None, connection: ConnectionPoolEntry) -> None:
        self._connections.add(connection)

    async def tidy(self) -> None:
        """Close connections that the test did not return or that the server has closed."""
        for engine in self._engines.values():
            assert isinstance(engine.pool, QueuePool)
            if engine.pool.checkedout():
                await engine.dispose()
        for connection in self._connections:
            if (driver := connection.driver_connection) is not None and driver.is_closed():
                connection.invalidate()

    async def close(self) -> None:
        """Close everything."""
        for engine in self._engines.values():
            await engine.dispose()
