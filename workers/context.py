"""What every job function finds in arq's context under `worker`."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.mail.sender import Mailer
from app.resources import Resources
from app.runtime.base import Runtime
from workers.revocations import Revocations


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The shared bundle and what only workers hold: the engine, the mail server, the client that probes, the events
    of the jobs in this worker's hands, and a lock that is held while it compares the whole engine.
    """

    resources: Resources
    runtime: Runtime
    mailer: Mailer
    http: httpx.AsyncClient
    revocations: Revocations = field(default_factory=Revocations)
    comparing: asyncio.Lock = field(default_factory=asyncio.Lock)


def context_of(ctx: dict[str, Any]) -> WorkerContext:
    """The typed context."""
    context: WorkerContext = ctx["worker"]
    return context
