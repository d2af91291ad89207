"""Deletes an account and everything that belongs to it."""

from uuid import UUID

from sqlalchemy import delete, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.status import lock_account
from app.audit import trail
from app.auth.me import log
from app.core.outbox import revoke, wake_admission
from app.models import (
    Invitation,
    Job,
    LinkRequest,
    MagicLink,
    Network,
    RetiredWorkspace,
    User,
    Volume,
    Workspace,
    utcnow,
)


async def delete_user(session: AsyncSession, user_id: UUID, *, actor: User | str) -> None:
    """Delete an account with sign-ins, links, workspaces and jobs.

    The reconciler then removes containers without rows, and the volumes. Raises `NotFound`, and `LastAdmin` if no
    active admin would remain.
    """
    user = await lock_account(session, user_id, needed=True)
    trail.record(session, "user_deleted", "user", str(user_id), actor=actor, detail=user.email)
    mine = select(Workspace.id).where(Workspace.user_id == user_id)
    await session.scalars(mine.order_by(Workspace.id).with_for_update())
    for job_id in await session.scalars(select(Job.id).where(Job.user_id == user_id, Job.lease.is_not(None))):
        revoke(session, job_id)
    # Deleting the account confirms the deletion of its files and containers.
    files = update(Volume).where(Volume.user_id == user_id)
    await session.execute(files.values(delete_at=utcnow(), found_at=None))
    gone = select(Workspace.engine_id, literal(utcnow())).where(Workspace.user_id == user_id)
    await session.execute(insert(RetiredWorkspace).from_select(["workspace_id", "retired_at"], gone))
    # Containers are still attached: the reconciler releases the networks.
    await session.execute(update(Network).where(Network.workspace_id.in_(mine)).values(ready=False))
    await session.execute(delete(LinkRequest).where(LinkRequest.email == user.email))
    await session.execute(delete(MagicLink).where(MagicLink.email == user.email))
    await session.execute(delete(Invitation).where(Invitation.email == user.email))
    await session.execute(delete(User).where(User.id == user_id))
    log.info("user_deleted", user_id=str(user_id))
    wake_admission(session)
