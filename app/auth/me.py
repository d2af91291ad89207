"""The caller's own view of their account."""

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.me_schemas import DefaultContainer, MeOut, UserOut
from app.core.addresses import workspace_url
from app.models import (
    User,
)
from app.resources import Resources
from app.workspaces.views import find_workspace, status_of

log = structlog.get_logger(__name__)


async def view_me(session: AsyncSession, resources: Resources, user: User) -> MeOut:
    """Return the user and the default workspace."""
    template = resources.catalog.default
    workspace = await find_workspace(session, user.id, template.key)
    return MeOut(
        user=UserOut.model_validate(user, from_attributes=True),
        container=DefaultContainer(
            id=workspace.container_id if workspace else None,
            port=workspace.port if workspace else None,
            status=status_of(workspace),
            service_url=workspace_url(resources.settings, user.slug, template.key),
        ),
    )
