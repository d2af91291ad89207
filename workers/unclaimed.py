"""Engine objects with our instance's label that no pass removes: `spawner orphans` lists and removes them."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from app.audit import trail
from app.models import Volume
from app.runtime.base import Inventory
from app.workspaces.ownership import Ownership, read_ownership
from workers.context import WorkerContext
from workers.loops.engine_events import reconcile_workspace, unasked

LOST = "its workspace has no row"
UNMARKED = "created by an earlier version, and its workspace has no row"
FOREIGN = "belongs to another database"
UNASKED = "runs, although its row says stopped"


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """One object, the reason why it remains, and its workspace. `kind` is container, network or volume."""

    kind: str
    name: str
    reason: str
    state: str = ""
    workspace_id: UUID | None = None

    def __str__(self) -> str:
        """Return one readable line."""
        return f"{self.kind:<10} {self.name:<40} {self.state:<8} {self.reason}"


async def find_unclaimed(context: WorkerContext) -> list[Unclaimed]:
    """Compare the engine with the rows, without changes. Raises `RuntimeFault` and database errors."""
    resources = context.resources
    inventory = await context.runtime.list_owned(resources.settings.instance)
    async with resources.reads() as session:
        ownership = await read_ownership(session, inventory)
        rows = set(await session.scalars(select(Volume.name).where(Volume.found_at.is_(None))))
    return [
        *_containers(inventory, ownership),
        *[
            Unclaimed("container", row.container, UNASKED, row.state, row.workspace_id)
            for row in await unasked(context, inventory)
        ],
        *_networks(context, inventory, ownership),
        *[
            Unclaimed("volume", item.name, _reason(item.installation, ownership), "", item.workspace_id)
            for item in inventory.volumes
            if item.name not in rows or not ownership.owns(item)
        ],
    ]


def _containers(inventory: Inventory, ownership: Ownership) -> list[Unclaimed]:
    return [
        Unclaimed("container", item.name, _reason(item.installation, ownership), item.status.state, item.workspace_id)
        for item in ownership.unwanted(inventory)
        if item.workspace_id not in ownership.retired
    ]


def _networks(context: WorkerContext, inventory: Inventory, ownership: Ownership) -> list[Unclaimed]:
    unused = ownership.unused(context.resources.settings, inventory)
    return [Unclaimed("network", name, _reason(inventory.installations.get(name), ownership)) for name in unused]


def _reason(installation: str | None, ownership: Ownership) -> str:
    if installation is None:
        return UNMARKED
    return LOST if installation == ownership.installation else f"{FOREIGN} ({installation})"


async def remove_unclaimed(context: WorkerContext, item: Unclaimed) -> None:
    """Remove one object, or start a job if its row no longer wants it; records that in the audit trail. Idempotent.

    Raises `RuntimeFault`. A network or volume in use stays.
    """
    runtime = context.runtime
    if item.reason == UNASKED and item.workspace_id is not None:
        await reconcile_workspace(context, item.workspace_id)
    elif item.kind == "container" and item.workspace_id is not None:
        await runtime.ensure_absent(item.name, item.workspace_id)
    elif item.kind == "network":
        await runtime.remove_network(item.name)
    else:
        await runtime.remove_volume(item.name)
    async with context.resources.unit_of_work() as session:
        detail = f"{item.name}: {item.reason}"
        trail.record(session, "orphan_removed", item.kind, item.name, actor=trail.COMMAND, detail=detail)
