"""What became of a user's earlier jobs, where that says more than the workspace's own row."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Job, JobState


async def last_failure(session: AsyncSession, user_id: UUID, template: str) -> Job | None:
    """The latest job of the user's workspace that failed, with the lines that its container left."""
    query = select(Job).where(Job.user_id == user_id, Job.template == template, Job.state == JobState.FAILED)
    return await session.scalar(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(1))
