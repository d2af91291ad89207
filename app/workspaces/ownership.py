"""Distinguishes this database's engine objects from those that only a person may remove.

Every object carries the id of its database. Objects with another id, or with none and an unknown workspace, are left
alone: a new, foreign or unrestored database matches nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import among
from app.core.settings.model import Settings
from app.models import Installation, Network, RetiredWorkspace, Seat, Workspace
from app.runtime.base import Inventory, Owned, OwnedVolume
from app.workspaces.container_spec import network_index


async def installation_id(session: AsyncSession) -> str:
    """Return the database's id."""
    return str((await session.scalars(select(Installation.uid))).one())


@dataclass(frozen=True, slots=True)
class Ownership:
    """The database's id, and which listed workspaces and networks have rows. `retired` were deleted with an account.

    Engine objects name a workspace by its `engine_id`, and a warm seat by its id.
    """

    installation: str
    workspaces: frozenset[UUID]
    retired: frozenset[UUID]
    networks: frozenset[int]

    def owns(self, item: Owned | OwnedVolume) -> bool:
        """Return whether an object is this database's: by its label, or by its workspace's row."""
        known = item.workspace_id in self.workspaces or item.workspace_id in self.retired
        return known or item.installation == self.installation

    def unwanted(self, inventory: Inventory) -> list[Owned]:
        """Return containers of workspaces without a row, of this database and others."""
        return [item for item in inventory.containers if item.workspace_id not in self.workspaces]

    def unused(self, settings: Settings, inventory: Inventory) -> list[str]:
        """Return networks without a row, or of another database."""
        return [
            name
            for name in inventory.networks
            if network_index(settings, name) not in self.networks
            or inventory.installations.get(name, self.installation) != self.installation
        ]


def bears(labels: Iterable[UUID]) -> ColumnElement[bool]:
    """Select workspaces with one of these engine ids: their own, or that of their seat."""
    ids = list(labels)
    return or_(among(Workspace.id, ids), among(Workspace.seat_id, ids))


async def read_ownership(session: AsyncSession, inventory: Inventory) -> Ownership:
    """Read the rows of all listed objects."""
    found: Sequence[Owned | OwnedVolume] = [*inventory.containers, *inventory.volumes]
    labelled = {item.workspace_id for item in found}
    known = select(Workspace.engine_id).where(bears(labelled))
    seats = select(Seat.id).where(among(Seat.id, labelled))
    retired = select(RetiredWorkspace.workspace_id).where(among(RetiredWorkspace.workspace_id, labelled))
    return Ownership(
        installation=await installation_id(session),
        workspaces=frozenset(await session.scalars(known.union(seats))),
        retired=frozenset(await session.scalars(retired)),
        networks=frozenset(await session.scalars(select(Network.index))),
    )
