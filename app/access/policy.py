"""Who may enter a workspace: its owner, and whom a share lets in. Every query that asks builds on this."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, and_, exists, false, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.util import AliasedClass

from app.models import Share, ShareLink, User, Workspace, utcnow

Account = type[User] | AliasedClass[User]


def is_live(now: BindParameter[datetime] | None = None) -> ColumnElement[bool]:
    """Whether a share has neither been revoked nor expired. A prepared query is given the time."""
    at = utcnow() if now is None else now
    return and_(Share.revoked_at.is_(None), or_(Share.expires_at.is_(None), Share.expires_at > at))


def lets_in(
    host_mode: bool, visitor: Account, owner: Account, now: BindParameter[datetime] | None = None
) -> ColumnElement[bool]:
    """Whether a share lets the visitor into the query's `Workspace`, which is the owner's.

    A blocked owner's shares rest; the access that an admin took ends with being an admin. Where workspaces share an
    origin no share lets anybody in: scripts of the owner's workspace could act in those that the visitor has open.
    """
    if not host_mode:
        return false()
    by_owner = and_(Share.reason.is_(None), owner.blocked_at.is_(None))
    by_admin = and_(Share.reason.is_not(None), visitor.is_admin)
    return and_(Share.workspace_id == Workspace.id, Share.email == visitor.email, is_live(now), or_(by_owner, by_admin))


def may_enter(
    host_mode: bool, visitor: Account, owner: Account, now: BindParameter[datetime] | None = None
) -> ColumnElement[bool]:
    """Whether the visitor may enter the query's `Workspace`. Whether their session lives is asked elsewhere."""
    if not host_mode:
        return Workspace.user_id == visitor.id
    shared = exists().where(lets_in(host_mode, visitor, owner, now)).correlate(Workspace, visitor, owner)
    return or_(Workspace.user_id == visitor.id, shared)


async def entered_as(session: AsyncSession, workspace_id: UUID, visitor: User) -> Literal["visitor", "admin"]:
    """Whether a share of the owner's lets the visitor in, or only the access that they took as an admin."""
    shared = exists().where(
        Share.workspace_id == workspace_id, Share.email == visitor.email, is_live(), Share.reason.is_(None)
    )
    return "visitor" if await session.scalar(select(shared)) else "admin"


async def end_all(session: AsyncSession, workspace_id: UUID) -> None:
    """Revoke every share and link of a workspace: its owner wants it gone, and what comes after it is something else.

    What admins took expires by itself.
    """
    now = utcnow()
    links = update(ShareLink).where(ShareLink.workspace_id == workspace_id, ShareLink.revoked_at.is_(None))
    await session.execute(links.values(revoked_at=now))
    shares = update(Share).where(Share.workspace_id == workspace_id, Share.revoked_at.is_(None), Share.reason.is_(None))
    await session.execute(shares.values(revoked_at=now))
