"""Named points at which a worker may die. Tests stop there; production ignores them."""

import enum
from collections.abc import Awaitable, Callable

from app.workspaces.jobs.leases import Claim


class Checkpoint(enum.StrEnum):
    """What has just been done. New steps of a job get a name here; the chaos suite kills workers at each."""

    CLAIMED = "claimed"
    NAMED = "named"
    PULLED = "pulled"
    RUNNING = "running"
    PROBED = "probed"
    PAUSED = "paused"
    STOPPED = "stopped"
    REMOVED = "removed"
    WRITTEN = "written"
    # Not part of a job: an admission pass has committed and sent nothing yet.
    ADMITTED = "admitted"


Listener = Callable[[Checkpoint, Claim | None], Awaitable[None]]
listeners: list[Listener] = []


async def reached(checkpoint: Checkpoint, held: Claim | None = None) -> None:
    """Call the listeners; production has none."""
    for listener in listeners:
        await listener(checkpoint, held)
