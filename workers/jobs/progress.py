"""Writes a job's timeline concurrently with the engine's work, so that launches need not wait for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import groupby

from sqlalchemy.ext.asyncio import AsyncSession

from app.models import JobStep, utcnow
from app.resources import Resources
from app.runtime.base import Phase, Progress
from app.workspaces.jobs import outcomes
from app.workspaces.jobs.leases import Claim
from app.workspaces.jobs.outcomes import Line
from app.workspaces.states import pull_progress

# Steps that follow each other within this time are written together, and the last ones with the outcome.
GATHER_SECONDS = 0.05


class Reporter:
    """Receives a runtime's progress. One task writes it in order; `touched` says whether there was any.

    `unwritten` are the last lines of a job that succeeded, to be written with its outcome.
    """

    def __init__(self, resources: Resources, held: Claim) -> None:
        self._resources = resources
        self._held = held
        self._phase: Phase | None = None
        self._waiting: list[Line | Progress] = []
        self._news, self._ended = asyncio.Event(), asyncio.Event()
        self.unwritten: list[Line] = []

    @property
    def touched(self) -> bool:
        """Whether the engine had anything to do."""
        return self._phase is not None

    def report_step(self, step: JobStep) -> None:
        """Report a step of the job."""
        self._add(Line(step, utcnow()))

    async def __call__(self, update: Progress) -> None:
        """A runtime's `Report`: returns at once."""
        if update.phase != self._phase:
            self._phase = update.phase
            self.report_step(JobStep(update.phase))
        if update.total_bytes:
            self._add(update)

    def _add(self, entry: Line | Progress) -> None:
        self._waiting.append(entry)
        self._news.set()

    def end(self, *, succeeded: bool) -> None:
        """End the reports. After a success, the last lines are left as `unwritten`."""
        while succeeded and self._waiting and isinstance(last := self._waiting[-1], Line):
            self.unwritten.insert(0, last)
            self._waiting.pop()
        self._ended.set()
        self._news.set()

    async def write(self) -> None:
        """Write until `end`. Raises `LeaseLost` if the job is no longer held."""
        while not self._ended.is_set() or self._waiting:
            await self._news.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._ended.wait()
            self._news.clear()
            entries, self._waiting = self._waiting, []
            for _, group in groupby(entries, key=type):
                await self._write(list(group))

    async def _write(self, entries: list[Line | Progress]) -> None:
        """Write entries of one kind: all lines, or the newest progress."""
        lines = [entry for entry in entries if isinstance(entry, Line)]
        async with self._resources.unit_of_work() as session:
            if lines:
                await outcomes.steps(session, self._held, lines)
            elif isinstance(newest := entries[-1], Progress):
                await self._write_bytes(session, newest)

    async def _write_bytes(self, session: AsyncSession, update: Progress) -> None:
        done, total = update.done_bytes or 0, update.total_bytes or 0
        detail = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
        await outcomes.pull_moved(session, self._resources, self._held, pull_progress(done, total), detail)


@asynccontextmanager
async def timeline(resources: Resources, held: Claim) -> AsyncIterator[Reporter]:
    """Yield a reporter. When the block ends, in any way, its reports have been written, or are its `unwritten` ones.

    Raises `LeaseLost` in place of the block's own exception.
    """
    report = Reporter(resources, held)
    writer = asyncio.create_task(report.write())
    succeeded = False
    try:
        yield report
        succeeded = True
    finally:
        report.end(succeeded=succeeded)
        await writer
