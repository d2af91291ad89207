"""Decides who may enter a workspace: its owner, and users with a live share. Every such query uses this module."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, and_, exists, false, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.util import AliasedClass

from app.models import Share, ShareLink, User, Workspace, utcnow

Account = type[User] | AliasedClass[User]


def is_live(now: BindParameter[datetime] | None = None) -> ColumnElement[bool]:
    """Whether a share is neither revoked nor expired. Prepared queries pass the time."""
    at = utcnow() if now is None else now
    return and_(Share.revoked_at.is_(None), or_(Share.expires_at.is_(None), Share.expires_at > at))


def lets_in(
    host_mode: bool, visitor: Account, owner: Account, now: BindParameter[datetime] | None = None
) -> ColumnElement[bool]:
    """Whether a live share lets the visitor into the query's `Workspace`, owned by `owner`.

    Shares of a blocked owner are suspended; an admin's access ends with the admin role. If workspaces share an origin,
    shares grant nothing: scripts of one workspace could act in the visitor's others.
    """
    if not host_mode:
        return false()
    by_owner = and_(Share.reason.is_(None), owner.blocked_at.is_(None))
    by_admin = and_(Share.reason.is_not(None), visitor.is_admin)
    return and_(Share.workspace_id == Workspace.id, Share.email == visitor.email, is_live(now), or_(by_owner, by_admin))


def may_enter(
    host_mode: bool, visitor: Account, owner: Account, now: BindParameter[datetime] | None = None
) -> ColumnElement[bool]:
    """Whether the visitor may enter the query's `Workspace`. Does not check the session."""
    if not host_mode:
        return Workspace.user_id == visitor.id
    shared = exists().where(lets_in(host_mode, visitor, owner, now)).correlate(Workspace, visitor, owner)
    return or_(Workspace.user_id == visitor.id, shared)


async def entered_as(session: AsyncSession, workspace_id: UUID, visitor: User) -> Literal["visitor", "admin"]:
    """Return whether the visitor enters by an owner's share, or only by admin access."""
    shared = exists().where(
        Share.workspace_id == workspace_id, Share.email == visitor.email, is_live(), Share.reason.is_(None)
    )
    return "visitor" if await session.scalar(select(shared)) else "admin"


async def end_all(session: AsyncSession, workspace_id: UUID) -> None:
    """Revoke every share and link of a deleted workspace: its successor is a different one.

    Admin access expires by itself.
    """
    now = utcnow()
    links = update(ShareLink).where(ShareLink.workspace_id == workspace_id, ShareLink.revoked_at.is_(None))
    await session.execute(links.values(revoked_at=now))
    shares = update(Share).where(Share.workspace_id == workspace_id, Share.revoked_at.is_(None), Share.reason.is_(None))
    await session.execute(shares.values(revoked_at=now))
