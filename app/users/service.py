"""The caller as they see themselves."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.gateway.names import workspace_url
from app.models import User
from app.resources import Resources
from app.users.schemas import DefaultContainer, MeOut, UserOut
from app.workspaces.views import find_workspace, status_of


async def view_me(session: AsyncSession, resources: Resources, user: User) -> MeOut:
    """The user and the default workspace."""
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
