"""Fails a job, in the log and in its row."""

from typing import Any

import structlog

from app.core.printable import printable
from app.security.redaction import Redactor
from app.workspaces.jobs import outcomes
from app.workspaces.jobs.leases import Claim
from workers.context import WorkerContext

log = structlog.get_logger(__name__)

MAX_CAUSE = 500


async def fail_job(context: WorkerContext, held: Claim, code: str, text: str, **facts: Any) -> None:
    """Fail the job with `code` and the `facts` of `outcomes.fail`.

    `text` is the reason: logged, and shown to admins redacted.
    """
    text = text or code
    log.warning("job_failed", kind=held.kind, code=code, error=text, attempt=held.attempt)
    cause = printable(Redactor(context.resources.settings).redact(text), MAX_CAUSE) or None
    async with context.resources.unit_of_work() as session:
        await outcomes.fail(session, held, code, cause=cause, **facts)
