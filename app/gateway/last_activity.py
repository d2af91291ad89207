"""Notes that workspaces are used: one write a minute for each, however many requests come."""

import time
from uuid import UUID

from sqlalchemy import func, update

from app.catalog.templates import Template
from app.models import Workspace, utcnow
from app.resources import Resources

MAX_SECONDS = 60.0
# Far more than one process sees in a minute; then those of earlier minutes are forgotten.
MAX_KEPT = 10_000


def interval(template: Template) -> float:
    """How often use is written, in seconds: well within the shortest time that it puts off."""
    return min([MAX_SECONDS, *(limit / 4 for limit in (template.idle_pause, template.idle_stop) if limit)])


class Activity:
    """What one process has written lately."""

    def __init__(self) -> None:
        self._noted: dict[UUID, float] = {}

    async def record_activity(
        self, resources: Resources, workspace_id: UUID, generation: int, template: Template
    ) -> bool:
        """Write that a workspace is used, where that was not just done. False if it has been asked for something since
        `generation`: the pause that began while the row was read is seen by whoever reads it again.
        """
        now = time.monotonic()
        last = self._noted.get(workspace_id)
        if last is not None and now - last < interval(template):
            return True
        self._keep(workspace_id, now)
        row = (
            update(Workspace)
            .where(Workspace.id == workspace_id, Workspace.generation == generation)
            .values(active_at=func.greatest(Workspace.active_at, utcnow()))
            .returning(Workspace.id)
        )
        written = None
        try:
            async with resources.unit_of_work() as session:
                written = await session.scalar(row)
        finally:
            if written is None:
                self._noted.pop(workspace_id, None)
        return written is not None

    def _keep(self, workspace_id: UUID, now: float) -> None:
        if len(self._noted) >= MAX_KEPT:
            self._noted = {key: at for key, at in self._noted.items() if now - at < MAX_SECONDS}
        self._noted[workspace_id] = now
