"""What every job function finds in arq's context under `worker`."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.core.settings.model import Settings
from app.mail.sender import Mailer, SmtpMailer
from app.resources import Resources, open_resources
from app.runtime import make_runtime
from app.runtime.base import Runtime
from app.runtime.docker.firewall import Firewall
from workers.jobs.deliveries import Deliveries
from workers.jobs.revocations import Revocations


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The shared bundle and what only workers hold: the engine, the mail server, the client that probes, and the events
    of the jobs in this worker's hands; and the mails that it sends beside them.
    """

    resources: Resources
    runtime: Runtime
    mailer: Mailer
    http: httpx.AsyncClient
    revocations: Revocations = field(default_factory=Revocations)
    deliveries: Deliveries = field(default_factory=Deliveries)


@asynccontextmanager
async def open_context(settings: Settings) -> AsyncIterator[WorkerContext]:
    """Open what a worker holds, lazily; close it at the end."""
    runtime = make_runtime(
        settings.docker_url,
        publish=settings.docker_publish,
        starts=settings.engine_starts,
        allowed=settings.allowed,
        firewall=Firewall(settings.instance, settings.network_range, settings.egress_resolvers),
    )
    # Containers are asked directly: a proxy from the environment knows nothing of them.
    direct = httpx.AsyncClient(timeout=2, trust_env=False)
    async with open_resources(settings) as resources, aclosing(runtime), direct as http:
        mailer = SmtpMailer(settings.smtp_url, settings.mail_from)
        yield WorkerContext(resources, runtime, mailer, http, deliveries=Deliveries(settings.worker_mails))


def context_of(ctx: dict[str, Any]) -> WorkerContext:
    """The typed context."""
    context: WorkerContext = ctx["worker"]
    return context
