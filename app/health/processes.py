"""The running processes and their catalogues, which differ if read at different times."""

import asyncio
import os
import secrets
import socket
from contextlib import suppress
from typing import Literal

import structlog
from pydantic import BaseModel, Field, ValidationError
from redis.exceptions import RedisError

from app.core.logging import cause
from app.core.redis_answers import answer_in_time
from app.core.schema import code_revision
from app.health.presence import announce, list_present, presence_key
from app.resources import Resources

log = structlog.get_logger(__name__)

INTERVAL = 5
LIFE = 20

Kind = Literal["api", "gateway", "worker"]


class ProcessOut(BaseModel):
    """A process that reported within the last twenty seconds."""

    kind: Kind
    name: str = Field(description="Host, process id and a random part.", examples=["web1:4711:9f3c"])
    catalog: str = Field(description="Digest of its catalogue.", examples=["5f0c2d9e1b7a"])
    revision: str = Field(description="Its newest migration.", examples=["0007"])


def this_process(resources: Resources, kind: Kind) -> ProcessOut:
    """Describe this process under a unique name."""
    # Containers on the host's network share its name, and each has a process 1.
    name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(2)}"
    return ProcessOut(kind=kind, name=name, catalog=resources.catalog.digest, revision=code_revision())


async def register(resources: Resources, kind: Kind) -> None:
    """Announce this process every five seconds until cancelled. Logs once if others have different templates."""
    own = this_process(resources, kind)
    key, said = presence_key(resources.settings, "processes"), False
    while True:
        try:
            await announce(resources.redis, key, own.name, own.model_dump_json(), LIFE)
            differing = [one.name for one in await list_processes(resources) if one.catalog != own.catalog]
            if differing and not said:
                remedy = "restart all processes after a change of the catalogue"
                log.warning("catalogues_differ", catalog=own.catalog, others=differing, remedy=remedy)
            said = bool(differing)
        except (RedisError, OSError) as error:
            log.debug("process_not_registered", **cause(error))
        await asyncio.sleep(INTERVAL)


async def list_processes(resources: Resources) -> list[ProcessOut]:
    """Return the live processes by kind and name; skips unreadable entries. Raises Redis errors."""
    present = await list_present(resources.redis, presence_key(resources.settings, "processes"))
    found = []
    for text in present.values():
        # Another version may use another format.
        with suppress(ValidationError):
            found.append(ProcessOut.model_validate_json(text))
    return sorted(found, key=lambda one: (one.kind, one.name))


async def known_processes(resources: Resources) -> list[ProcessOut] | None:
    """Return the live processes, for a request; None if Redis fails or times out."""
    try:
        return await answer_in_time(lambda: list_processes(resources))
    except (RedisError, OSError) as error:
        log.warning("part_down", part="redis", **cause(error))
        return None
