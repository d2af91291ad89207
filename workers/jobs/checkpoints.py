"""The named points of a job's way, between which a worker may die. Tests stop there; production passes by."""

import enum
from collections.abc import Awaitable, Callable

from app.workspaces.jobs.leases import Claim


class Checkpoint(enum.StrEnum):
    """What has just been done. A new step of a job gets a new name here, and the chaos suite kills workers at it."""

    CLAIMED = "claimed"
    NAMED = "named"
    PULLED = "pulled"
    RUNNING = "running"
    PROBED = "probed"
    PAUSED = "paused"
    STOPPED = "stopped"
    REMOVED = "removed"
    WRITTEN = "written"
    # Not of one job: a pass has written what it admits, and has sent nothing yet.
    ADMITTED = "admitted"


Listener = Callable[[Checkpoint, Claim | None], Awaitable[None]]
listeners: list[Listener] = []


async def reached(checkpoint: Checkpoint, held: Claim | None = None) -> None:
    """Call the listeners; there are none in production."""
    for listener in listeners:
        await listener(checkpoint, held)
