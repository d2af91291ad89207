"""What became of a user's earlier jobs, where that says more than the workspace's own row."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Job, JobState, WorkspaceStatus
from app.resources import Resources
from app.workspaces.logs import read_log
from app.workspaces.views import find_workspace


async def read_log_or_kept(resources: Resources, user_id: UUID, template: str, *, tail: int) -> list[str]:
    """The last lines of a workspace's log; of one that failed and has no container, those that its job kept.

    Raises what `read_log` raises.
    """
    lines = await read_log(resources, user_id, template, tail=tail)
    if lines:
        return lines
    async with resources.reads() as session:
        workspace = await find_workspace(session, user_id, template)
        if workspace is None or workspace.status != WorkspaceStatus.ERROR:
            return lines
        failure = await last_failure(session, user_id, template)
    kept = (failure.log_tail or "").splitlines() if failure is not None else []
    return kept[len(kept) - tail :] if tail < len(kept) else kept


async def last_failure(session: AsyncSession, user_id: UUID, template: str) -> Job | None:
    """The latest job of the user's workspace that failed, with the lines that its container left."""
    query = select(Job).where(Job.user_id == user_id, Job.template == template, Job.state == JobState.FAILED)
    return await session.scalar(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(1))
