"""Requests for links."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import update

from app.models import LinkPurpose, LinkRequest, utcnow
from app.resources import Resources


async def make_request(
    resources: Resources, address: str = "alice@example.org", *, seconds: float = 600, **columns: Any
) -> UUID:
    """A wish for a link, not yet in the queue."""
    values = {"purpose": LinkPurpose.SIGNUP, "locale": "en", **columns}
    request = LinkRequest(email=address, expires_at=utcnow() + timedelta(seconds=seconds), **values)
    async with resources.unit_of_work() as session:
        session.add(request)
    return request.id


async def request_of(resources: Resources, id: UUID) -> LinkRequest:
    async with resources.sessions() as session:
        return await session.get_one(LinkRequest, id)


async def make_due(resources: Resources, id: UUID, **columns: Any) -> None:
    async with resources.unit_of_work() as session:
        await session.execute(
            update(LinkRequest).where(LinkRequest.id == id).values(run_at=utcnow() - timedelta(seconds=1), **columns)
        )
