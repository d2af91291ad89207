"""What a block of a test asks of the database."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.reader import Reader

# Transactions, the pool's question whether a connection lives, and what the driver asks once about a type.
AROUND = re.compile(r"\s*(BEGIN|COMMIT|ROLLBACK|;)|.*(typeinfo_tree|set_config\('jit')", re.DOTALL)


@asynccontextmanager
async def counted(engine: AsyncEngine, reader: Reader) -> AsyncIterator[list[str]]:
    """The statements that connections of both run in the block, by SQLAlchemy or by the driver alone."""
    found: list[str] = []
    connections: set[Any] = set()

    def note(*execution: Any) -> None:
        found.append(str(execution[2]))

    def note_query(logged: Any) -> None:
        if not AROUND.match(logged.query):
            found.append(logged.query)

    def watch(connection: Any, *_: Any) -> None:
        if connection.driver_connection not in connections:
            connections.add(connection.driver_connection)
            connection.driver_connection.add_query_logger(note_query)

    # The reader's next read checks its connection out again.
    reader.release()
    event.listen(engine.sync_engine, "before_cursor_execute", note)
    for watched in (engine, reader.engine):
        event.listen(watched.sync_engine, "checkout", watch)
    try:
        yield found
        # The driver tells of a statement in the loop's next turn.
        await asyncio.sleep(0)
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)
        for watched in (engine, reader.engine):
            event.remove(watched.sync_engine, "checkout", watch)
        for connection in connections:
            connection.remove_query_logger(note_query)


@contextmanager
def executed(engine: AsyncEngine) -> Iterator[list[tuple[str, Any]]]:
    """The statements of the block that SQLAlchemy runs, each with its arguments."""
    found: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, arguments: Any, *_: Any) -> None:
        found.append((statement, arguments))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)


async def explain(engine: AsyncEngine, statement: str, arguments: Any) -> str:
    """How the server would run a statement with these arguments."""
    async with engine.begin() as connection:
        lines = await connection.exec_driver_sql(f"EXPLAIN {statement}", arguments)
        return "\n".join(line for (line,) in lines)
