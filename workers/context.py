"""The context of job functions, under `worker` in arq's context."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from app.core.settings.model import Settings
from app.mail.sender import Mailer, SmtpMailer
from app.resources import Resources, open_resources
from app.runtime import make_runtime
from app.runtime.base import Runtime
from app.runtime.docker.firewall import Firewall
from workers.jobs.deliveries import Deliveries
from workers.jobs.probe import AskStatus, ask_status
from workers.jobs.revocations import Revocations


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The shared resources and the worker's own: engine, mail server, probe, revocation events of held jobs, and
    running deliveries.
    """

    resources: Resources
    runtime: Runtime
    mailer: Mailer
    ask: AskStatus = ask_status
    revocations: Revocations = field(default_factory=Revocations)
    deliveries: Deliveries = field(default_factory=Deliveries)


@asynccontextmanager
async def open_context(settings: Settings) -> AsyncIterator[WorkerContext]:
    """Create the worker's resources lazily; close them at the end."""
    runtime = make_runtime(
        settings.docker_url,
        publish=settings.docker_publish,
        starts=settings.engine_starts,
        allowed=settings.allowed,
        firewall=Firewall(settings.instance, settings.network_range, settings.egress_resolvers),
    )
    async with open_resources(settings) as resources, aclosing(runtime):
        mailer = SmtpMailer(settings.smtp_url, settings.mail_from)
        yield WorkerContext(resources, runtime, mailer, deliveries=Deliveries(settings.worker_mails))


def context_of(ctx: dict[str, Any]) -> WorkerContext:
    """Return the typed context."""
    context: WorkerContext = ctx["worker"]
    return context
