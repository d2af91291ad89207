"""What a workspace cookie opens, and whether what it opened is still open to its holder."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Integer, Select, Uuid, and_, column, func, literal, select
from sqlalchemy.orm import aliased

from app.errors import NotFound
from app.gateway.names import Route
from app.models import LIVE_STATES, Job, JobKind, Session, User, Workspace, WorkspaceCookie, WorkspaceStatus, utcnow
from app.resources import Resources
from app.settings import Settings
from app.shares.access import may_enter
from app.workspaces.states import ALIVE, RELEASED

_visitor, _owner = aliased(User, name="visitor"), aliased(User, name="owner")


@dataclass(frozen=True, slots=True)
class Entry:
    """That a session was let into one container of a workspace."""

    session_id: UUID
    workspace_id: UUID
    incarnation: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What a cookie opens and for whom, with its workspace's live job, if any.

    `owner` and `visitor` are slugs; they differ where the workspace is shared.
    """

    session_id: UUID
    workspace_id: UUID
    incarnation: int
    owner_id: UUID
    generation: int
    owner: str
    visitor: str
    template: str
    status: WorkspaceStatus
    status_at: datetime
    host: str | None
    port: int | None
    job_id: UUID | None
    job: JobKind | None
    was: WorkspaceStatus | None

    @property
    def entry(self) -> Entry:
        """What a connection that outlasts this request holds on to."""
        return Entry(self.session_id, self.workspace_id, self.incarnation)

    @property
    def own(self) -> bool:
        """Whether the visitor is the owner."""
        return self.visitor == self.owner

    @property
    def running(self) -> bool:
        """It runs, and nothing is about to freeze it."""
        return self.status is WorkspaceStatus.RUNNING and self.job is not JobKind.PAUSE

    @property
    def waking(self) -> bool:
        """A launch brings it back to what it was a moment ago."""
        return self.job is JobKind.LAUNCH and self.was in ALIVE and self.status is not WorkspaceStatus.RUNNING

    @property
    def asleep(self) -> bool:
        """It is frozen, or about to be."""
        return self.status is WorkspaceStatus.PAUSED or self.job is JobKind.PAUSE


async def find_grant(resources: Resources, shown: Collection[str], route: Route) -> Grant | None:
    """What one of the values of the workspace cookie opens; None where nobody whose session lives is signed in.

    Raises `NotFound` where they open other workspaces only.
    """
    if not shown:
        return None
    digests = [digest for value in shown for digest in resources.tokens.hashes("workspace", value)]
    query = (
        select(
            Session.id,
            Workspace.id,
            Workspace.incarnation,
            _owner.id,
            Workspace.generation,
            _owner.slug,
            _visitor.slug,
            Workspace.template,
            Workspace.status,
            Workspace.status_at,
            Workspace.host,
            Workspace.port,
            Job.id,
            Job.kind,
            Job.was,
        )
        .select_from(WorkspaceCookie)
        .join(Session, Session.id == WorkspaceCookie.session_id)
        .join(_visitor, _visitor.id == Session.user_id)
        .join(Workspace, Workspace.id == WorkspaceCookie.workspace_id)
        .join(_owner, _owner.id == Workspace.user_id)
        .outerjoin(Job, (Job.workspace_id == Workspace.id) & Job.state.in_(LIVE_STATES))
        .where(WorkspaceCookie.token_hash.in_(digests), _holds(resources.settings))
    )
    async with resources.reads() as session:
        rows = (await session.execute(query)).all()
    grants = [Grant(*columns) for columns in map(tuple[Any, ...], rows)]
    for grant in grants:
        if (grant.owner, grant.template) == (route.slug, route.template):
            return grant
    if grants:
        raise NotFound
    return None


async def still_held(resources: Resources, entries: Collection[Entry]) -> set[Entry]:
    """Those of the entries whose session lives, whose account is not blocked, whose visitor may still enter, and whose
    container has not been stopped or replaced."""
    async with resources.reads() as session:
        rows = await session.execute(_still(resources.settings, entries))
    return {Entry(*columns) for columns in rows}


def _still(settings: Settings, entries: Collection[Entry]) -> Select[UUID, UUID, int]:
    arrays = func.unnest(
        literal([entry.session_id for entry in entries], ARRAY(Uuid)),
        literal([entry.workspace_id for entry in entries], ARRAY(Uuid)),
        literal([entry.incarnation for entry in entries], ARRAY(Integer)),
    )
    held = arrays.table_valued(
        column("session_id", Uuid), column("workspace_id", Uuid), column("incarnation", Integer), name="held"
    ).render_derived()
    return (
        select(held.c.session_id, held.c.workspace_id, held.c.incarnation)
        .join(Session, Session.id == held.c.session_id)
        .join(_visitor, _visitor.id == Session.user_id)
        .join(
            Workspace,
            (Workspace.id == held.c.workspace_id)
            & (Workspace.incarnation == held.c.incarnation)
            & Workspace.status.not_in(RELEASED),
        )
        .join(_owner, _owner.id == Workspace.user_id)
        .where(_holds(settings))
    )


def _holds(settings: Settings) -> ColumnElement[bool]:
    """The session lives, and its account may enter."""
    return and_(
        Session.ended_at.is_(None),
        Session.expires_at > utcnow(),
        _visitor.blocked_at.is_(None),
        may_enter(settings, _visitor, _owner),
    )
