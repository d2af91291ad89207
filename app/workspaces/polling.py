"""Reading a job once, or until it changes. No database session is open while anybody waits."""

import asyncio
from uuid import UUID

from app.i18n import Locale
from app.models import LIVE_STATES
from app.resources import Resources
from app.workspaces.schemas import JobOut
from app.workspaces.views import get_job, tag, view_job
from app.workspaces.watch import JobWatch


async def poll_job(
    resources: Resources, watch: JobWatch, user_id: UUID, job_id: UUID, locale: Locale, *, seen: str | None, wait: float
) -> tuple[JobOut | None, str]:
    """The job and its ETag; with `wait`, after it differs from `seen`, ends, or that many seconds have passed.

    `seen` is the client's If-None-Match: where it still fits, the job is None (304). Without it the wait is for the
    next change from now. Raises `NotFound`.
    """
    known = {part.strip().removeprefix("W/") for part in seen.split(",")} if seen else set()
    clock = asyncio.get_running_loop().time
    until = clock() + wait
    waited_for = known
    with watch.changes(job_id) as changed:
        while True:
            async with resources.reads() as session:
                job = await get_job(session, user_id, job_id)
                view = await view_job(session, resources, job, locale)
            current = tag(view, job.version, locale)
            waited_for = waited_for or {current}
            remaining = until - clock()
            if current not in waited_for or job.state not in LIVE_STATES or remaining <= 0 or watch.closing:
                return (None if current in known else view), current
            try:
                await asyncio.wait_for(changed.wait(), remaining)
            except TimeoutError:
                continue
            changed.clear()
