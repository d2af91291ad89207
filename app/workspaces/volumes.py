"""Volumes as rows: which one a workspace uses, and when it goes."""

import enum
import secrets
from collections.abc import Container, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Volume, Workspace, utcnow
from app.resources import Resources
from app.runtime.base import OwnedVolume


class VolumePolicy(enum.StrEnum):
    """What becomes of a workspace's files when it is deleted."""

    KEEP = "keep"
    DELETE = "delete"


async def release(session: AsyncSession, resources: Resources, workspace_id: UUID, policy: VolumePolicy) -> None:
    """The workspace goes. Kept files wait for it as long as settings say; others go as soon as nothing uses them."""
    now = utcnow()
    if policy is VolumePolicy.KEEP:
        kept = timedelta(days=resources.settings.volume_retention_days)
        row = update(Volume).where(Volume.workspace_id == workspace_id, Volume.delete_at.is_(None))
        await session.execute(row.values(delete_at=now + kept))
    else:
        row = update(Volume).where(Volume.workspace_id == workspace_id)
        await session.execute(row.values(delete_at=now, workspace_id=None))


async def attach(session: AsyncSession, workspace: Workspace, container: str) -> str:
    """The name of the workspace's volume, which is kept from now on; a row is made for it if there is none.

    The first one has a name that is known beforehand, so that a volume whose row was lost is found again.
    """
    row = update(Volume).where(Volume.workspace_id == workspace.id).values(delete_at=None).returning(Volume.name)
    known = await session.scalar(row)
    if known is not None:
        return known
    name = f"{container}-data"
    if await session.scalar(select(Volume.id).where(Volume.name == name)) is not None:
        name = f"{name}-{secrets.token_hex(4)}"
    session.add(Volume(name=name, user_id=workspace.user_id, workspace_id=workspace.id, template=workspace.template))
    await session.flush()
    return name


async def adopt(
    session: AsyncSession, resources: Resources, found: Sequence[OwnedVolume], workspaces: Container[UUID]
) -> None:
    """Give a row to each of our volumes that has none. One of a workspace that is not known is kept for its time."""
    known = set(await session.scalars(select(Volume.name).where(Volume.name.in_([volume.name for volume in found]))))
    until = utcnow() + timedelta(days=resources.settings.volume_retention_days)
    for volume in found:
        if volume.name in known:
            continue
        workspace = await session.get(Workspace, volume.workspace_id) if volume.workspace_id in workspaces else None
        row = insert(Volume).values(
            name=volume.name,
            user_id=workspace.user_id if workspace else None,
            workspace_id=workspace.id if workspace else None,
            template=workspace.template if workspace else "",
            delete_at=None if workspace else until,
        )
        await session.execute(row.on_conflict_do_nothing())
