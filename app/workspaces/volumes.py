"""Rows of volumes: the volume of each workspace, and its deletion time."""

import enum
import secrets
from collections.abc import Container, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit import trail
from app.core.db import among
from app.core.errors import NotFound
from app.models import User, Volume, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.runtime.base import OwnedVolume
from app.workspaces.errors import VolumeInUse
from app.workspaces.ownership import bears


class VolumePolicy(enum.StrEnum):
    """What happens to a workspace's files when it is deleted."""

    KEEP = "keep"
    DELETE = "delete"


def _stays() -> ColumnElement[bool]:
    """Whether the volume stays: after its deletion time it is lost even if the engine still has it."""
    return or_(Volume.delete_at.is_(None), Volume.delete_at > utcnow())


async def release(session: AsyncSession, resources: Resources, workspace_id: UUID, policy: VolumePolicy) -> bool:
    """Schedule a deleted workspace's volume: kept files expire after the configured retention, others as soon as they
    are unused.

    Returns True if files are newly scheduled for immediate deletion.
    """
    now = utcnow()
    if policy is VolumePolicy.KEEP:
        kept = timedelta(days=resources.settings.volume_retention_days)
        row = update(Volume).where(Volume.workspace_id == workspace_id, Volume.delete_at.is_(None))
        await session.execute(row.values(delete_at=now + kept, found_at=None))
        return False
    # A found volume is now deleted by a person's decision, even after its time.
    row = update(Volume).where(Volume.workspace_id == workspace_id, or_(_stays(), Volume.found_at.is_not(None)))
    return bool((await session.scalars(row.values(delete_at=now, found_at=None).returning(Volume.id))).all())


async def cancel_removal(session: AsyncSession, workspace_id: UUID) -> None:
    """Cancel the volume's deletion: the workspace stays, and the engine still has a volume in use."""
    row = update(Volume).where(Volume.workspace_id == workspace_id)
    await session.execute(row.values(delete_at=None, found_at=None))


async def attach(session: AsyncSession, workspace: Workspace, container: str) -> str:
    """Return the name of the workspace's volume and keep it; inserts a missing row.

    The first volume has a predictable name, so that one with a lost row is found again. If the old volume is to be
    deleted, a new container gets a new one. The caller has locked `workspace`.
    """
    own = update(Volume).where(Volume.workspace_id == workspace.id)
    kept = own.where(_stays()).values(delete_at=None, found_at=None)
    known: str | None = await session.scalar(kept.returning(Volume.name))
    if known is not None:
        return known
    if list(await session.scalars(own.values(workspace_id=None).returning(Volume.id))):
        workspace.revision = max(workspace.revision + 1, workspace.generation)
    name = f"{container}-data"
    if await session.scalar(select(Volume.id).where(Volume.name == name)) is not None:
        name = f"{name}-{secrets.token_hex(4)}"
    session.add(Volume(name=name, user_id=workspace.user_id, workspace_id=workspace.id, template=workspace.template))
    await session.flush()
    return name


async def adopt(
    session: AsyncSession, resources: Resources, found: Sequence[OwnedVolume], known_ids: Container[UUID]
) -> None:
    """Insert rows for our volumes without one. A volume without a waiting workspace expires after the retention.

    `known_ids` are those of workspaces and warm seats. An unclaimed seat's volume needs no row.
    """
    names = select(Volume.name).where(among(Volume.name, (volume.name for volume in found)))
    known = set(await session.scalars(names))
    until = utcnow() + timedelta(days=resources.settings.volume_retention_days)
    for volume in found:
        if volume.name in known:
            continue
        workspace = None
        if volume.workspace_id in known_ids:
            workspace = await session.scalar(select(Workspace).where(bears([volume.workspace_id])))
            if workspace is None:
                continue
        has_one = select(Volume.id).where(Volume.workspace_id == workspace.id) if workspace else None
        taken = has_one is None or await session.scalar(has_one) is not None
        goes = taken or _is_away(workspace)
        row = insert(Volume).values(
            name=volume.name,
            user_id=workspace.user_id if workspace else None,
            workspace_id=workspace.id if workspace and not taken else None,
            template=workspace.template if workspace else "",
            delete_at=until if goes else None,
            found_at=utcnow() if goes else None,
        )
        await session.execute(row.on_conflict_do_nothing())


def _is_away(workspace: Workspace | None) -> bool:
    """Return whether only the workspace's files are on the engine. A stopped container still has its volume."""
    return workspace is None or workspace.status == WorkspaceStatus.NOT_CREATED


async def list_volumes(session: AsyncSession, user_id: UUID) -> list[tuple[Volume, bool]]:
    """Return the user's volumes, oldest first, each with whether its workspace uses it."""
    query = (
        select(Volume, Workspace)
        .outerjoin(Workspace, Workspace.id == Volume.workspace_id)
        .where(Volume.user_id == user_id, _stays())
        .order_by(Volume.created_at, Volume.id)
    )
    return [(volume, not _is_away(workspace)) for volume, workspace in await session.execute(query)]


async def remove(session: AsyncSession, user: User, volume_id: UUID) -> None:
    """Delete one of the user's volumes. Raises `NotFound`, and `VolumeInUse` while its workspace exists."""
    owned = (Volume.id == volume_id, Volume.user_id == user.id, _stays())
    # Locks the workspace first: no launch can take the volume afterwards.
    users_of_it = select(Workspace).join(Volume, Volume.workspace_id == Workspace.id).where(*owned)
    workspace = await session.scalar(users_of_it.with_for_update(of=Workspace, key_share=True))
    if workspace is not None and not _is_away(workspace):
        raise VolumeInUse
    row = update(Volume).where(*owned).values(delete_at=utcnow(), found_at=None).returning(Volume.template)
    template = await session.scalar(row)
    if template is None:
        raise NotFound
    trail.record(session, "volume_deleted", "volume", str(volume_id), actor=user, detail=template)
