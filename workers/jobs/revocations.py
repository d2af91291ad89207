"""Tells the one who works on a job that it was ended from outside."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID


class Revocations:
    """An event for each job in this worker's hands; it says only that the job's row is worth a look."""

    def __init__(self) -> None:
        self._held: dict[str, asyncio.Event] = {}

    @contextmanager
    def of(self, job_id: UUID) -> Iterator[asyncio.Event]:
        """The job's event, for as long as the block runs."""
        event = self._held.setdefault(str(job_id), asyncio.Event())
        try:
            yield event
        finally:
            self._held.pop(str(job_id), None)

    def notify(self, job_id: str) -> None:
        """The job was ended from outside."""
        if job_id in self._held:
            self._held[job_id].set()

    def notify_all(self) -> None:
        """Something may have been missed."""
        for event in self._held.values():
            event.set()
