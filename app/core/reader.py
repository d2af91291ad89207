"""Reads without the ORM: a SELECT is compiled once, the server prepares it once a connection, rows are tuples.

The engine's pool lends the connection, as to everything else. No transaction begins: each statement stands alone.
"""

from functools import cached_property
from typing import Any, TypeAlias, cast

import asyncpg
from sqlalchemy import BindParameter, Dialect, Select, bindparam
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine.interfaces import DBAPIModule
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql.compiler import SQLCompiler

# One row. Values are the driver's: a choice is text, an id a UUID.
Row: TypeAlias = tuple[Any, ...]


_GIVEN = object()


def given(name: str) -> BindParameter[Any]:
    """A parameter whose value comes with each read."""
    return bindparam(name, _GIVEN)


class PreparedSelect:
    """A SELECT that is compiled when it is first used."""

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        self._statement = statement

    @cached_property
    def _compiled(self) -> SQLCompiler:
        dialect: Dialect = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
        return self._statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})

    @cached_property
    def sql(self) -> str:
        """The text, with parameters as the server counts them."""
        return str(self._compiled)

    @cached_property
    def _parameters(self) -> list[tuple[str, Any]]:
        constants = self._compiled.params
        return [(name, constants[name]) for name in self._compiled.positiontup or ()]

    def arguments(self, values: dict[str, Any]) -> list[Any]:
        """The parameters in order: those of `values`, and the statement's own constants."""
        return [values[name] if constant is _GIVEN else constant for name, constant in self._parameters]


class Reader:
    """Runs prepared SELECTs. Raises what the engine itself raises, `DBAPIError` above all."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def fetch(self, select: PreparedSelect, **values: Any) -> list[Row]:
        """All rows."""
        connection = await self._check_out()
        driver: Any = connection.driver_connection
        try:
            return cast("list[Row]", await driver.fetch(select.sql, *select.arguments(values)))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            # The driver's own confusion: the server closed the connection, and this statement was faster than the news.
            lost = driver.is_closed() or isinstance(error, asyncpg.InternalClientError)
            if lost:
                connection.invalidate()
            raise self._translated(select.sql, error, invalidated=lost) from error
        except BaseException:
            # Cancelled or timed out in the middle of an answer.
            connection.invalidate()
            raise
        finally:
            connection.close()

    async def fetch_one(self, select: PreparedSelect, **values: Any) -> Row | None:
        """The first row, if there is one."""
        rows = await self.fetch(select, **values)
        return rows[0] if rows else None

    async def _check_out(self) -> PoolProxiedConnection:
        try:
            return await self._engine.raw_connection()
        except self._dbapi.Error as error:
            raise self._wrapped(None, error, invalidated=False) from error

    @property
    def _dbapi(self) -> DBAPIModule:
        return self._engine.dialect.loaded_dbapi

    def _translated(self, sql: str, error: Exception, *, invalidated: bool) -> Exception:
        # The adapter's error class takes the driver's error as well, for its SQLSTATE.
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
            dialect=self._engine.dialect,
        )
