"""Records use of workspaces, at most once a minute each."""

import time
from uuid import UUID

from sqlalchemy import func, update

from app.catalog.templates import Template
from app.models import Workspace, utcnow
from app.resources import Resources

MAX_SECONDS = 60.0
# Far above one process's workspaces per minute; beyond it, old entries are dropped.
MAX_KEPT = 10_000


def interval(template: Template) -> float:
    """Return the seconds between writes: well below the shortest idle time."""
    return min([MAX_SECONDS, *(limit / 4 for limit in (template.idle_pause, template.idle_stop) if limit)])


class Activity:
    """What one process has written recently."""

    def __init__(self) -> None:
        self._noted: dict[UUID, float] = {}

    async def record_activity(
        self, resources: Resources, workspace_id: UUID, generation: int, template: Template
    ) -> bool:
        """Record use unless done recently. Returns False if a request came since `generation`: the caller must read the
        row again, as a pause may have started.
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
