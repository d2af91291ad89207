"""An admin's temporary access to a user's workspace, with a reason that the owner reads."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.schemas import SharedOut
from app.access.shares import check_origins, view_shared
from app.audit import trail
from app.core.errors import NotFound
from app.core.i18n import Locale
from app.models import Share, User, Workspace, utcnow
from app.resources import Resources


async def take_access(
    session: AsyncSession, resources: Resources, admin: User, workspace_id: UUID, reason: str, locale: Locale
) -> SharedOut:
    """Grant an admin temporary access to a workspace; the owner sees access and reason.

    Raises `NotFound` and `SharedOrigin`.
    """
    check_origins(resources)
    query = select(Workspace, User).join(User).where(Workspace.id == workspace_id)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise NotFound
    workspace, owner = row
    until = utcnow() + timedelta(seconds=resources.settings.admin_access_seconds)
    taken = Share(workspace_id=workspace.id, email=admin.email, user_id=admin.id, reason=reason, expires_at=until)
    session.add(taken)
    await session.flush()
    trail.record(session, "access_taken", "workspace", str(workspace.id), actor=admin, detail=reason)
    return view_shared(resources, taken, workspace, owner, locale)
