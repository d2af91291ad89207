"""Reads without the ORM: each SELECT is compiled once and prepared once per connection; rows are tuples.

Statements run without a transaction.
"""

import asyncio
import enum
import re
from functools import cached_property
from typing import Any, Generic, TypeAlias, TypeVar, cast

import asyncpg
from sqlalchemy import BindParameter, ColumnElement, Dialect, Enum, Select, String, bindparam, inspect
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine.interfaces import DBAPIModule
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql.compiler import SQLCompiler

from app.core.db import POOL_SECONDS

# Values as the driver returns them: enums are text, ids are UUIDs.
Row: TypeAlias = tuple[Any, ...]
Model = TypeVar("Model")

_GIVEN = object()
# Safe because constants are inserted only after this substitution.
_PLACE = re.compile(r"\$(\d+)")


def given(name: str) -> BindParameter[Any]:
    """A parameter whose value is given at each read."""
    return bindparam(name, _GIVEN)


class PreparedSelect:
    """A SELECT that is compiled on first use."""

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        self.statement = statement

    @cached_property
    def _compiled(self) -> SQLCompiler:
        dialect: Dialect = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
        return self.statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})

    @cached_property
    def _rendered(self) -> tuple[str, list[tuple[str, Any]]]:
        """Return the SQL with constants inlined, and the remaining parameters in order.

        The planner does not know constants passed as parameters: it cannot use partial indexes in a cached plan, and
        plans each read anew.
        """
        compiled, left = self._compiled, list[tuple[str, Any]]()
        spelled: dict[str, str] = {}
        for number, name in enumerate(compiled.positiontup or (), start=1):
            value = compiled.params[name]
            literal = None if value is _GIVEN else _literal(compiled, value)
            if literal is None:
                left.append((name, value))
                literal = f"${len(left)}"
            spelled[str(number)] = literal
        return _PLACE.sub(lambda match: spelled[match[1]], str(compiled)), left

    @property
    def sql(self) -> str:
        """The SQL, with numbered parameters."""
        return self._rendered[0]

    @property
    def names(self) -> list[str]:
        """Names of the parameters given at each read, in order."""
        return [name for name, constant in self._rendered[1] if constant is _GIVEN]

    def arguments(self, values: dict[str, Any]) -> list[Any]:
        """Return the arguments in order: from `values`, and constants that cannot be inlined."""
        return [values[name] if constant is _GIVEN else constant for name, constant in self._rendered[1]]


def _literal(compiled: SQLCompiler, value: Any) -> str | None:
    """Return text as an SQL literal; None for any other constant."""
    return compiled.render_literal_value(str(value), String()) if isinstance(value, str) else None


class Columns(Generic[Model]):
    """All columns of a model; builds its objects from rows in a tenth of the ORM's time.

    The objects belong to no session and load nothing later.
    """

    def __init__(self, model: type[Model]) -> None:
        mapper = inspect(model)
        self._new = mapper.class_manager.new_instance
        self._names = [attribute.key for attribute in mapper.column_attrs]
        self.columns: list[ColumnElement[Any]] = [attribute.columns[0] for attribute in mapper.column_attrs]
        self._choices = [
            (name, cast("type[enum.StrEnum]", column.type.enum_class))
            for name, column in zip(self._names, self.columns, strict=True)
            if isinstance(column.type, Enum)
        ]

    def make(self, values: Row) -> Model:
        """Build an object; `values` are in the order of `columns`."""
        made = self._new()
        fields = made.__dict__
        fields.update(zip(self._names, values, strict=True))
        for name, choice in self._choices:
            if (value := fields[name]) is not None:
                fields[name] = choice(value)
        return cast("Model", made)


class Reader:
    """Runs prepared SELECTs, on connections of its own: reads never wait for writes.

    Connections stay checked out of the engine's pool between reads. A read whose connection was lost is repeated once,
    on a new one. Raises the engine's errors, such as `DBAPIError`.
    """

    def __init__(self, engine: AsyncEngine, size: int) -> None:
        """`size` is the size of the engine's pool. Nothing else may check connections out of it."""
        self.engine = engine
        self._places = asyncio.Semaphore(size)
        # The most recently used last.
        self._idle: list[PoolProxiedConnection] = []

    async def fetch(self, select: PreparedSelect, **values: Any) -> list[Row]:
        """Return all rows."""
        arguments = select.arguments(values)
        if self._places.locked():
            await self._wait_for_place()
        else:
            # Does not suspend.
            await self._places.acquire()
        try:
            if (connection := self._take_idle()) is not None:
                try:
                    return await self._run(connection, select.sql, arguments)
                except DBAPIError as error:
                    if not error.connection_invalidated:
                        raise
            return await self._run(await self._connect(), select.sql, arguments)
        finally:
            self._places.release()

    async def fetch_one(self, select: PreparedSelect, **values: Any) -> Row | None:
        """Return the first row, or None."""
        rows = await self.fetch(select, **values)
        return rows[0] if rows else None

    def release(self) -> None:
        """Return idle connections to the engine's pool."""
        while self._idle:
            self._idle.pop().close()

    async def close(self) -> None:
        """Close all connections."""
        self.release()
        await self.engine.dispose()

    async def _wait_for_place(self) -> None:
        try:
            async with asyncio.timeout(POOL_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise PoolTimeout(f"no read connection was free within {POOL_SECONDS} s") from None

    def _take_idle(self) -> PoolProxiedConnection | None:
        """Return an idle connection that the server has not closed, if any."""
        while self._idle:
            connection = self._idle.pop()
            if not cast("Any", connection.driver_connection).is_closed():
                return connection
            connection.invalidate()
            connection.close()
        return None

    async def _connect(self) -> PoolProxiedConnection:
        try:
            return await self.engine.raw_connection()
        except self._dbapi.Error as error:
            raise self._wrapped(None, error, invalidated=False) from error

    async def _run(self, connection: PoolProxiedConnection, sql: str, arguments: list[Any]) -> list[Row]:
        driver: Any = connection.driver_connection
        usable = False
        try:
            rows = cast("list[Row]", await driver.fetch(sql, *arguments))
            usable = True
            return rows
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            # asyncpg's InternalClientError: the server closed the connection before the driver noticed.
            usable = not (driver.is_closed() or isinstance(error, asyncpg.InternalClientError))
            raise self._translated(sql, error, invalidated=not usable) from error
        finally:
            if usable:
                self._idle.append(connection)
            else:
                # Lost, or the read was cancelled or timed out in the middle of a response.
                connection.invalidate()
                connection.close()

    @property
    def _dbapi(self) -> DBAPIModule:
        return self.engine.dialect.loaded_dbapi

    def _translated(self, sql: str, error: Exception, *, invalidated: bool) -> Exception:
        # The adapter's error class takes the driver's error too, for its SQLSTATE.
        adapted = cast("Any", self._dbapi.Error)(f"{type(error)}: {error}", error)
        return self._wrapped(sql, adapted, invalidated=invalidated)

    def _wrapped(self, sql: str | None, error: Exception, *, invalidated: bool) -> Exception:
        return DBAPIError.instance(
            sql,
            None,
            error,
            self._dbapi.Error,
            hide_parameters=True,
            connection_invalidated=invalidated,
            dialect=self.engine.dialect,
        )
