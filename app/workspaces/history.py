"""What became of a user's earlier jobs, where that says more than the workspace's own row."""

from uuid import UUID

from sqlalchemy import select, true
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Job, JobEvent, JobState, Workspace, WorkspaceStatus

RESTING = (WorkspaceStatus.PAUSED, WorkspaceStatus.STOPPED)


async def rest_reasons(session: AsyncSession, user_id: UUID) -> dict[str, str]:
    """Why the platform brought the user's workspaces to rest: a code by template, none where the user did it."""
    last = (
        select(Job.id, Job.platform)
        .where(Job.user_id == user_id, Job.workspace_id == Workspace.id)
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(1)
        .lateral()
    )
    first = select(JobEvent.detail).where(JobEvent.job_id == last.c.id).order_by(JobEvent.id).limit(1)
    query = (
        select(Workspace.template, first.scalar_subquery())
        .join(last, true())
        .where(Workspace.user_id == user_id, Workspace.status.in_(RESTING), last.c.platform)
    )
    return {template: code for template, code in await session.execute(query) if code is not None}


async def last_failure(session: AsyncSession, user_id: UUID, template: str) -> Job | None:
    """The latest job of the user's workspace that failed, with the lines that its container left."""
    query = select(Job).where(Job.user_id == user_id, Job.template == template, Job.state == JobState.FAILED)
    return await session.scalar(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(1))
