"""Queries and changes for admins. Routes check permission, this module does not."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.admin.schemas import AdminUserOut, EngineOut, MailOut, OverviewOut, PromisedOut, SeatsOut
from app.audit import trail
from app.core.db import plain
from app.core.errors import NotFound
from app.health.processes import known_processes
from app.http.paging import newest_first
from app.models import (
    EngineCapacity,
    Job,
    JobState,
    LinkRequest,
    LinkRequestState,
    User,
    Workspace,
    WorkspaceStatus,
    utcnow,
)
from app.resources import Resources
from app.workspaces import seats

RECENT = timedelta(hours=24)


async def list_users(
    session: AsyncSession, *, search: str | None, limit: int, before: UUID | None
) -> list[AdminUserOut]:
    """Return a page of accounts, newest first; `search` matches parts of address or slug. Raises `NotFound` for
    `before`.
    """
    query = await newest_first(session, _users(), User, limit=limit, before=before)
    if search:
        part = plain(search.lower())
        query = query.where(or_(User.email.contains(part, autoescape=True), User.slug.contains(part, autoescape=True)))
    return _views((await session.execute(query)).all())


async def get_user(session: AsyncSession, user_id: UUID) -> AdminUserOut:
    """Return one account. Raises `NotFound`."""
    found = _views((await session.execute(_users().where(User.id == user_id))).all())
    if not found:
        raise NotFound
    return found[0]


async def limit_user(
    session: AsyncSession, user_id: UUID, running_limit: int | None, *, actor: User | str
) -> AdminUserOut:
    """Set or remove a user's own limit; running workspaces stay. Raises `NotFound`."""
    row = update(User).where(User.id == user_id).values(running_limit=running_limit).returning(User.email)
    address = await session.scalar(row)
    if address is None:
        raise NotFound
    detail = f"{address}: {running_limit}"
    trail.record(session, "user_limited", "user", str(user_id), actor=actor, detail=detail)
    return await get_user(session, user_id)


async def list_mails(
    session: AsyncSession, *, state: LinkRequestState | None, limit: int, before: UUID | None
) -> list[MailOut]:
    """Return a page of link requests, newest first. Raises `NotFound` for `before`."""
    query = await newest_first(session, select(LinkRequest), LinkRequest, limit=limit, before=before)
    if state is not None:
        query = query.where(LinkRequest.state == state)
    return [
        MailOut(
            id=row.id,
            address=row.email,
            purpose=row.purpose,
            state=row.state,
            attempts=row.attempts,
            created_at=row.created_at,
            run_at=row.run_at,
            expires_at=row.expires_at,
            finished_at=row.finished_at,
        )
        for row in await session.scalars(query)
    ]


async def overview(session: AsyncSession, resources: Resources) -> OverviewOut:
    """Count running, waiting and failed workspaces, and list the live processes."""
    processes = await known_processes(resources)
    failed = (Job.state == JobState.FAILED) & (Job.finished_at > utcnow() - RECENT)
    statuses = await _count(session, Workspace.status, Workspace.status.in_(["running", "paused"]))
    reserved = select(
        func.count(),
        func.coalesce(func.sum(Workspace.reserved_memory), 0),
        func.coalesce(func.sum(Workspace.reserved_cpus), 0.0),
    ).where(Workspace.reserved_memory.is_not(None))
    workspaces, memory, cpus = (await session.execute(reserved)).one()
    facts = await session.scalar(select(EngineCapacity))
    warm = await seats.count(session, resources.catalog)
    return OverviewOut(
        running=statuses.get(WorkspaceStatus.RUNNING, 0),
        paused=statuses.get(WorkspaceStatus.PAUSED, 0),
        queued=(await _count(session, Job.state, Job.is_live)).get(JobState.QUEUED, 0),
        waiting=await _count(session, Job.blocked_by, Job.is_live & Job.blocked_by.is_not(None)),
        jobs=await _count(session, Job.kind, Job.is_live),
        failures=await _count(session, func.coalesce(Job.error_code, ""), failed),
        engine=EngineOut.model_validate(facts, from_attributes=True) if facts else None,
        promised=PromisedOut(workspaces=workspaces, memory_bytes=memory, cpus=cpus),
        seats={key: SeatsOut.model_validate(one) for key, one in warm.items()},
        processes=processes,
        catalogs_differ=len({one.catalog for one in processes or ()}) > 1,
    )


async def _count(session: AsyncSession, column: Any, condition: Any) -> dict[Any, int]:
    rows = await session.execute(select(column, func.count()).where(condition).group_by(column).order_by(column))
    return dict(rows.all())


def _users() -> Select[User, int]:
    running = select(func.count()).where(Workspace.user_id == User.id, Workspace.reserved_memory.is_not(None))
    return select(User, running.scalar_subquery())


def _views(rows: Sequence[Any]) -> list[AdminUserOut]:
    return [
        AdminUserOut(
            id=user.id,
            email=user.email,
            slug=user.slug,
            is_admin=user.is_admin,
            state=user.state,
            blocked_at=user.blocked_at,
            running_limit=user.running_limit,
            running=running,
            created_at=user.created_at,
            last_used=user.last_used,
        )
        for user, running in rows
    ]
