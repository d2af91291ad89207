"""Notifies a job's handler that the job was ended from outside."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID


class Revocations:
    """One event per held job: its row should be read."""

    def __init__(self) -> None:
        self._held: dict[str, asyncio.Event] = {}

    @contextmanager
    def of(self, job_id: UUID) -> Iterator[asyncio.Event]:
        """Yield the job's event during the block."""
        event = self._held.setdefault(str(job_id), asyncio.Event())
        try:
            yield event
        finally:
            self._held.pop(str(job_id), None)

    def notify(self, job_id: str) -> None:
        """Set the event of a job that was ended from outside."""
        if job_id in self._held:
            self._held[job_id].set()

    def notify_all(self) -> None:
        """Set all events: notifications may have been missed."""
        for event in self._held.values():
            event.set()
