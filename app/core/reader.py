"""Reads without the ORM: a SELECT is compiled once, the server prepares it once a connection, rows are tuples.

The engine's pool lends the connection, as to everything else. No transaction begins: each statement stands alone.
"""

import enum
import re
from functools import cached_property
from typing import Any, Generic, TypeAlias, TypeVar, cast

import asyncpg
from sqlalchemy import BindParameter, ColumnElement, Dialect, Enum, Select, String, bindparam, inspect
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine.interfaces import DBAPIModule
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql.compiler import SQLCompiler

# One row. Values are the driver's: a choice is text, an id a UUID.
Row: TypeAlias = tuple[Any, ...]
Model = TypeVar("Model")

_GIVEN = object()
# No text of ours stands in quotes before its place is filled.
_PLACE = re.compile(r"\$(\d+)")


def given(name: str) -> BindParameter[Any]:
    """A parameter whose value comes with each read."""
    return bindparam(name, _GIVEN)


class PreparedSelect:
    """A SELECT that is compiled when it is first used."""

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        self.statement = statement

    @cached_property
    def _compiled(self) -> SQLCompiler:
        dialect: Dialect = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
        return self.statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})

    @cached_property
    def _rendered(self) -> tuple[str, list[tuple[str, Any]]]:
        """The text with the statement's constants in it, and the parameters that are left, in order.

        A constant that comes as a parameter is unknown to the planner: it could use no partial index in a plan that it
        keeps, and would plan anew for each read.
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
        """The text, with parameters as the server counts them."""
        return self._rendered[0]

    @property
    def names(self) -> list[str]:
        """The parameters whose values come with each read, in order."""
        return [name for name, constant in self._rendered[1] if constant is _GIVEN]

    def arguments(self, values: dict[str, Any]) -> list[Any]:
        """The parameters in order: those of `values`, and constants that have no spelling."""
        return [values[name] if constant is _GIVEN else constant for name, constant in self._rendered[1]]


def _literal(compiled: SQLCompiler, value: Any) -> str | None:
    """A text as the server reads it in a statement; None for any other constant."""
    return compiled.render_literal_value(str(value), String()) if isinstance(value, str) else None


class Columns(Generic[Model]):
    """All columns of a model, and its objects made from their values: a tenth of the time that the ORM's loading takes.

    The objects belong to no session, and nothing is loaded for them later.
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
        """An object of these values, which stand in the order of `columns`."""
        made = self._new()
        fields = made.__dict__
        fields.update(zip(self._names, values, strict=True))
        for name, choice in self._choices:
            if (value := fields[name]) is not None:
                fields[name] = choice(value)
        return cast("Model", made)


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
