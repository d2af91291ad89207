"""Lets in who waits for room, once somebody has made some."""

from typing import Any

from app.workspaces import admission
from workers.context import WorkerContext, context_of


async def admit(context: WorkerContext) -> None:
    """To be called after the commit that freed something. Where nobody waits it costs one read.

    A launch that has just begun to wait may not be seen here; it asks for `admit_waiting` after its own commit, and so
    one of the two sees the other.
    """
    resources = context.resources
    async with resources.reads() as session:
        if not await admission.anybody_waits(session):
            return
    async with resources.unit_of_work() as session:
        await admission.admit(session, resources)


async def admit_waiting(ctx: dict[str, Any], _: str) -> None:
    """A launch has begun to wait: is there room by now? May be repeated."""
    context = context_of(ctx)
    async with context.resources.unit_of_work() as session:
        await admission.admit(session, context.resources)
