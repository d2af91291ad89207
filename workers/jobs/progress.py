"""Writes a job's timeline concurrently with the engine's work, so that launches need not wait for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from app.models import JobStep
from app.resources import Resources
from app.runtime.base import Phase, Progress
from app.workspaces.jobs import outcomes
from app.workspaces.jobs.leases import Claim
from app.workspaces.states import pull_progress


class Reporter:
    """Receives a runtime's progress. One task writes the entries in order; `touched` says whether there were any."""

    def __init__(self, resources: Resources, held: Claim) -> None:
        self._resources = resources
        self._held = held
        self._phase: Phase | None = None
        self._waiting: asyncio.Queue[JobStep | Progress | None] = asyncio.Queue()

    @property
    def touched(self) -> bool:
        """Whether the engine had anything to do."""
        return self._phase is not None

    def report_step(self, step: JobStep) -> None:
        """Report a step of the job."""
        self._waiting.put_nowait(step)

    async def __call__(self, update: Progress) -> None:
        """A runtime's `Report`: returns at once."""
        if update.phase != self._phase:
            self._phase = update.phase
            self.report_step(JobStep(update.phase))
        if update.total_bytes:
            self._waiting.put_nowait(update)

    def end(self) -> None:
        """End the reports."""
        self._waiting.put_nowait(None)

    async def write(self) -> None:
        """Write until `end`. Raises `LeaseLost` if the job is no longer held."""
        while (entry := await self._waiting.get()) is not None:
            async with self._resources.unit_of_work() as session:
                if isinstance(entry, JobStep):
                    await outcomes.step(session, self._held, entry)
                else:
                    await self._write_bytes(session, entry)

    async def _write_bytes(self, session: AsyncSession, update: Progress) -> None:
        done, total = update.done_bytes or 0, update.total_bytes or 0
        detail = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
        await outcomes.pull_moved(session, self._resources, self._held, pull_progress(done, total), detail)


@asynccontextmanager
async def timeline(resources: Resources, held: Claim) -> AsyncIterator[Reporter]:
    """Yield a reporter. When the block ends, in any way, all reports have been written.

    Raises `LeaseLost` in place of the block's own exception.
    """
    report = Reporter(resources, held)
    writer = asyncio.create_task(report.write())
    try:
        yield report
    finally:
        report.end()
        await writer
