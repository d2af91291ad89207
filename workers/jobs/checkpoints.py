"""The named points of a job's way, between which a worker may die. Tests stop there; production passes by."""

import enum
from collections.abc import Awaitable, Callable

from app.workspaces.jobs.leases import Claim


class Checkpoint(enum.StrEnum):
    """What has just been done. A new step of a job gets a new name here, and the chaos suite kills workers at it."""

    CLAIMED = "claimed"
    PULLED = "pulled"
    RUNNING = "running"
    PROBED = "probed"
    PAUSED = "paused"
    STOPPED = "stopped"
    REMOVED = "removed"
    WRITTEN = "written"


Listener = Callable[[Checkpoint, Claim], Awaitable[None]]
listeners: list[Listener] = []


async def reached(checkpoint: Checkpoint, held: Claim) -> None:
    """Tell whoever listens; nobody does in production."""
    for listener in listeners:
        await listener(checkpoint, held)
