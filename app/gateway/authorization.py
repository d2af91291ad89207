"""What a workspace cookie or personal token grants, and whether a past grant still holds."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Integer, Select, Uuid, and_, any_, column, func, literal, or_, select
from sqlalchemy.orm import aliased

from app.access.policy import may_enter
from app.accounts.principal import Scope, session_lives, token_lives
from app.core.addresses import Route
from app.core.errors import InsufficientScope, NotFound
from app.core.reader import PreparedSelect, given
from app.core.settings.model import Settings
from app.gateway.errors import TokenRefused
from app.models import (
    LIVE_JOB,
    ApiToken,
    Job,
    JobKind,
    Session,
    User,
    Workspace,
    WorkspaceCookie,
    WorkspaceStatus,
    utcnow,
)
from app.resources import Resources
from app.workspaces.states import ALIVE, RELEASED

_visitor, _owner = aliased(User, name="visitor"), aliased(User, name="owner")
_sibling = aliased(Workspace, name="sibling")
_containers = (
    select(func.count()).where(_sibling.user_id == _owner.id, _sibling.status.not_in(RELEASED)).scalar_subquery()
)

# The columns of a `Grant` except its holder.
_GRANTED: tuple[Any, ...] = (
    Workspace.id,
    Workspace.revision,
    _owner.id,
    _visitor.id,
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
    Job.previous_status,
    _containers,
)


@dataclass(frozen=True, slots=True)
class SessionGrant:
    """A session's or personal token's access to one container of a workspace.

    `holder_id` is its id, `visitor_id` its account's.
    """

    holder_id: UUID
    workspace_id: UUID
    revision: int
    visitor_id: UUID


@dataclass(frozen=True, slots=True)
class Grant:
    """The result of a cookie or token: visitor, workspace, and its live job.

    `owner` and `visitor` are slugs; they differ if the workspace is shared. `containers` is the number of the owner's
    workspaces that may have a container, including this one.
    """

    holder_id: UUID
    workspace_id: UUID
    revision: int
    owner_id: UUID
    visitor_id: UUID
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
    previous_status: WorkspaceStatus | None
    containers: int

    @property
    def entry(self) -> SessionGrant:
        """The access that a connection outlasting this request keeps."""
        return SessionGrant(self.holder_id, self.workspace_id, self.revision, self.visitor_id)

    @property
    def own(self) -> bool:
        """Whether the visitor is the owner."""
        return self.visitor == self.owner

    @property
    def running(self) -> bool:
        """Whether it runs, and no job is about to pause it."""
        return self.status is WorkspaceStatus.RUNNING and self.job is not JobKind.PAUSE

    @property
    def waking(self) -> bool:
        """Whether a launch is resuming it."""
        return (
            self.job is JobKind.LAUNCH and self.previous_status in ALIVE and self.status is not WorkspaceStatus.RUNNING
        )

    @property
    def asleep(self) -> bool:
        """Whether it is paused or about to be."""
        return self.status is WorkspaceStatus.PAUSED or self.job is JobKind.PAUSE


_STATUS, _JOB, _PREVIOUS = (
    [field.name for field in fields(Grant)].index(name) for name in ("status", "job", "previous_status")
)


@cache
def by_cookie(host_mode: bool) -> PreparedSelect:
    """The query for cookies. Shares apply only if each workspace has its own host."""
    now = given("now")
    return PreparedSelect(
        select(Session.id, *_GRANTED)
        .select_from(WorkspaceCookie)
        .join(Session, Session.id == WorkspaceCookie.session_id)
        .join(_visitor, _visitor.id == Session.user_id)
        .join(Workspace, Workspace.id == WorkspaceCookie.workspace_id)
        .join(_owner, _owner.id == Workspace.user_id)
        .outerjoin(Job, LIVE_JOB)
        .where(
            WorkspaceCookie.token_hash == any_(given("digests")),
            session_lives(now),
            _visitor.blocked_at.is_(None),
            may_enter(host_mode, _visitor, _owner, now),
        )
    )


@cache
def by_token() -> PreparedSelect:
    """The query for personal tokens, and their owner's workspace of this name."""
    named = (
        (Workspace.user_id == _owner.id) & (Workspace.template == given("template")) & (_owner.slug == given("slug"))
    )
    return PreparedSelect(
        select(ApiToken.scopes, ApiToken.used_at, ApiToken.id, *_GRANTED)
        .select_from(ApiToken)
        .join(_owner, _owner.id == ApiToken.user_id)
        .join(_visitor, _visitor.id == _owner.id)
        .outerjoin(Workspace, named)
        .outerjoin(Job, LIVE_JOB)
        .where(
            ApiToken.token_hash == any_(given("digests")),
            token_lives(given("now")),
            _visitor.blocked_at.is_(None),
        )
    )


async def find_grant(resources: Resources, shown: Collection[str], route: Route) -> Grant | None:
    """Return the grant of one of the cookie's values; None without a live session.

    Raises `NotFound` if they are for other workspaces only.
    """
    if not shown:
        return None
    digests = [digest for value in shown for digest in resources.tokens.hashes("workspace", value)]
    query = by_cookie(resources.settings.host_mode)
    rows = await resources.reader.fetch(query, digests=digests, now=utcnow())
    for row in rows:
        grant = _grant(row)
        if (grant.owner, grant.template) == (route.slug, route.template):
            return grant
    if rows:
        raise NotFound
    return None


async def find_token_grant(resources: Resources, token: str, route: Route) -> tuple[Grant, datetime | None]:
    """Return a personal token's grant, only for its owner's own workspaces, and the token's last use.

    Raises `TokenRefused` unless the token is live, `InsufficientScope`, and `NotFound` without such a workspace.
    """
    digests = resources.tokens.hashes("token", token)
    named = {"slug": route.slug, "template": route.template}
    row = await resources.reader.fetch_one(by_token(), digests=digests, now=utcnow(), **named)
    if row is None:
        raise TokenRefused
    scopes, used_at, *columns = row
    if Scope.WORKSPACES not in scopes:
        raise InsufficientScope(Scope.WORKSPACES)
    if columns[1] is None:
        raise NotFound
    return _grant(columns), used_at


def _grant(columns: Sequence[Any]) -> Grant:
    """Build a grant from a row of the holder's id and `_GRANTED`; enums arrive as text."""
    values = list(columns)
    values[_STATUS] = WorkspaceStatus(values[_STATUS])
    if values[_JOB] is not None:
        values[_JOB], values[_PREVIOUS] = JobKind(values[_JOB]), WorkspaceStatus(values[_PREVIOUS])
    return Grant(*values)


async def still_held(resources: Resources, entries: Collection[SessionGrant]) -> set[SessionGrant]:
    """Return the entries that still hold: session or token live, account not blocked, visitor still permitted,
    container neither stopped nor replaced.
    """
    async with resources.reads() as session:
        rows = await session.execute(_still(resources.settings, entries))
    return {SessionGrant(*columns) for columns in rows}


def _still(settings: Settings, entries: Collection[SessionGrant]) -> Select[UUID, UUID, int, UUID]:
    arrays = func.unnest(
        literal([entry.holder_id for entry in entries], ARRAY(Uuid)),
        literal([entry.workspace_id for entry in entries], ARRAY(Uuid)),
        literal([entry.revision for entry in entries], ARRAY(Integer)),
    )
    held = arrays.table_valued(
        column("holder_id", Uuid), column("workspace_id", Uuid), column("revision", Integer), name="held"
    ).render_derived()
    by_token = and_(
        token_lives(), literal(Scope.WORKSPACES.value) == any_(ApiToken.scopes), Workspace.user_id == _visitor.id
    )
    return (
        select(held.c.holder_id, held.c.workspace_id, held.c.revision, _visitor.id)
        .outerjoin(Session, Session.id == held.c.holder_id)
        .outerjoin(ApiToken, ApiToken.id == held.c.holder_id)
        .join(_visitor, _visitor.id == func.coalesce(Session.user_id, ApiToken.user_id))
        .join(
            Workspace,
            (Workspace.id == held.c.workspace_id)
            & (Workspace.revision == held.c.revision)
            & Workspace.status.not_in(RELEASED),
        )
        .join(_owner, _owner.id == Workspace.user_id)
        .where(
            or_(session_lives(), by_token),
            _visitor.blocked_at.is_(None),
            may_enter(settings.host_mode, _visitor, _owner),
        )
    )
