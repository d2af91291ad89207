"""Checks the service's parts."""

import asyncio
from collections.abc import Awaitable
from typing import Literal, TypeVar

import structlog
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response

from app.core.logging import cause
from app.core.schema import Fit, code_revision, read_schema
from app.core.settings.model import Settings
from app.core.supervise import failing_loops
from app.health.presence import list_present, presence_key
from app.resources import Resources

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 2

State = Literal["ok", "down"]
T = TypeVar("T")


class Liveness(BaseModel):
    """The process answers; `failing` means that a restart may help."""

    status: Literal["ok", "failing"] = "ok"


class Readiness(BaseModel):
    """The status of each part, and the number of workers that reported within ten seconds."""

    ready: bool = Field(examples=[True])
    instance: str = Field(description="The installation that answers.", examples=["spawner"])
    database: State
    tables: Fit | None = Field(
        None, description="Whether the database schema fits this version; null if the database does not answer."
    )
    redis: State
    engine: State = Field(description="As reported by workers; the API cannot reach the engine.")
    workers: int = Field(examples=[2])


def liveness() -> Liveness:
    """Report the failing loops of this process. Checks no dependency: its failure must not restart the process."""
    return Liveness(status="failing" if failing_loops() else "ok")


async def serving(request: Request) -> Response:
    """Answer whether this process accepts the proxy's requests.

    503 after a shutdown signal, though the process serves for some seconds more; 421 for another installation's proxy.
    """
    settings: Settings = request.app.state.settings
    if request.query_params.get("instance", "") not in ("", settings.instance):
        return Response(status_code=421)
    return Response(status_code=503 if request.app.state.leaving else 204)


async def check(resources: Resources) -> Readiness:
    """Check all parts concurrently, with a timeout of two seconds each."""
    database, beats = await asyncio.gather(
        _answer(_database(resources), "database"), _answer(_beats(resources), "redis")
    )
    workers = beats or []
    engine: State = "ok" if "ok" in workers else "down"
    tables = database[0] if database else None
    ready = tables == "ok" and beats is not None and engine == "ok"
    return Readiness(
        ready=ready,
        instance=resources.settings.instance,
        database="ok" if database is not None else "down",
        tables=tables,
        redis="ok" if beats is not None else "down",
        engine=engine,
        workers=len(workers),
    )


async def _database(resources: Resources) -> list[Fit]:
    async with resources.engine.connect() as connection:
        schema = await read_schema(connection)
    if schema.fit != "ok":
        log.warning("schema_unfit", tables=schema.revision, serves_from=schema.serves_from, code=code_revision())
    return [schema.fit]


async def _beats(resources: Resources) -> list[str]:
    return [*(await list_present(resources.redis, presence_key(resources.settings, "workers"))).values()]


async def _answer(question: Awaitable[list[T]], part: str) -> list[T] | None:
    try:
        return await asyncio.wait_for(question, TIMEOUT_SECONDS)
    except (SQLAlchemyError, RedisError, OSError) as error:
        log.warning("part_down", part=part, **cause(error))
        return None
