"""Carries a session from the platform's origin to a workspace's origin, which shares no cookie with it.

The workspace's origin sets a random entry cookie and redirects to `{PUBLIC_URL}/open/{route}` with the same value as
`state`. There a permitted visitor gets a one-use code, whose hash covers that state. Back at the workspace's origin,
code and cookie together are exchanged for the workspace cookie. Without the entry cookie, an attacker could send a link
with a code of their own and run their page in another user's browser, beside that user's workspaces.
"""

from collections.abc import Iterable
from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy import Select, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.access.policy import entered_as, may_enter
from app.accounts.principal import Principal, session_lives
from app.audit import trail
from app.core.addresses import Route, base_path, origin_of, safe_path, split_route
from app.core.retention import delete_batch
from app.gateway.errors import TooManyEntries
from app.models import Handoff, Session, User, Workspace, WorkspaceCookie, utcnow
from app.resources import Resources
from app.security.tokens import is_token, new_token
from app.workspaces.states import ALIVE

CODE_LIFE = timedelta(seconds=60)
# Codes per session in that time, redeemed or not: each redeemed one adds a cookie and an audit row.
MAX_CODES = 50
ENTER_PATH = "/.spawner/enter"
_visitor, _owner = aliased(User, name="visitor"), aliased(User, name="owner")


async def make_code(
    session: AsyncSession, resources: Resources, caller: Principal, slug: str, template: str, state: str
) -> str | None:
    """Create a code for one workspace cookie, valid for a minute in the browser that holds `state`. Two statements.

    Returns None without a live workspace that the caller may enter. Raises `TooManyEntries`.
    """
    # Locks the session's row: concurrent requests must count each other's codes.
    enterable = _enterable(resources, caller, slug, template).join(Session, Session.id == caller.session_id)
    workspace_id = await session.scalar(enterable.with_for_update(of=Session, key_share=True))
    if workspace_id is None:
        return None
    code, now = new_token(), utcnow()
    lately = select(func.count()).where(Handoff.session_id == caller.session_id, Handoff.expires_at > now)
    values = {
        Handoff.code_hash: resources.tokens.hash("handoff", f"{code}.{state}"),
        Handoff.session_id: caller.session_id,
        Handoff.workspace_id: workspace_id,
        Handoff.expires_at: now + CODE_LIFE,
    }
    row = select(*(literal(value, column.type) for column, value in values.items()))
    made = insert(Handoff).from_select(list(values), row.where(lately.scalar_subquery() < MAX_CODES))
    if await session.scalar(made.returning(Handoff.workspace_id)) is None:
        raise TooManyEntries(headers={"Retry-After": str(int(CODE_LIFE.total_seconds()))})
    return code


def _enterable(resources: Resources, caller: Principal, slug: str, template: str) -> Select[UUID]:
    """Select the id of the live workspace of this name if the caller may enter it."""
    return (
        select(Workspace.id)
        .join(_owner, _owner.id == Workspace.user_id)
        .join(_visitor, _visitor.id == caller.user.id)
        .where(
            _owner.slug == slug,
            Workspace.template == template,
            Workspace.status.in_(ALIVE),
            may_enter(resources.settings.host_mode, _visitor, _owner),
        )
    )


async def enter_url(
    session: AsyncSession, resources: Resources, caller: Principal, route: str, next_path: str, state: str | None
) -> str | None:
    """Return the address that brings the caller's browser, signed in, to `next_path` of this workspace.

    `next_path` and `state` come from the query of `/open/{route}`. Without a state, the browser first visits the
    workspace's origin, gets one, and returns. None if the route is unknown or foreign, or nothing is alive there: the
    gateway resumes a paused workspace. Writes only with a state.
    """
    names = split_route(route)
    if names is None:
        return None
    origin, base = origin_of(resources.settings, route), base_path(resources.settings, route).rstrip("/")
    known = state if state is not None and is_token(state) else None
    path = safe_path(next_path)
    if known is None:
        found = await session.scalar(_enterable(resources, caller, *names))
        return f"{origin}{base}{path}" if found is not None else None
    code = await make_code(session, resources, caller, *names, known)
    if code is None:
        return None
    return f"{origin}{base}{ENTER_PATH}?{urlencode({'code': code, 'next': path})}"


async def exchange(
    session: AsyncSession, resources: Resources, route: Route, code: str, states: Iterable[str]
) -> str | None:
    """Exchange a code for the workspace cookie's value; None unless it is unused, unexpired, for this route and one of
    the states, with a live session. One statement checks all states, as a request may carry many.
    """
    now = utcnow()
    hashes = [digest for state in states for digest in resources.tokens.hashes("handoff", f"{code}.{state}")]
    spent = (
        update(Handoff)
        .where(
            Handoff.code_hash.in_(hashes),
            Handoff.spent_at.is_(None),
            Handoff.expires_at > now,
            Handoff.session_id == Session.id,
            Handoff.workspace_id == Workspace.id,
            Workspace.template == route.template,
            Workspace.user_id == _owner.id,
            _owner.slug == route.slug,
            Session.user_id == _visitor.id,
            _visitor.blocked_at.is_(None),
            may_enter(resources.settings.host_mode, _visitor, _owner),
            session_lives(now),
        )
        .values(spent_at=now)
        .returning(
            Handoff.session_id, Handoff.workspace_id, _visitor.id.label("visitor_id"), _visitor.email, Workspace.user_id
        )
        .cte("spent")
    )
    value = new_token()
    made = {
        WorkspaceCookie.token_hash: literal(resources.tokens.hash("workspace", value), WorkspaceCookie.token_hash.type),
        WorkspaceCookie.session_id: spent.c.session_id,
        WorkspaceCookie.workspace_id: spent.c.workspace_id,
        WorkspaceCookie.created_at: literal(now, WorkspaceCookie.created_at.type),
    }
    cookie = insert(WorkspaceCookie).from_select(list(made), select(*made.values()))
    row = (await session.execute(select(spent).add_cte(cookie.cte("cookie")))).one_or_none()
    if row is None:
        return None
    visitor = User(id=row.visitor_id, email=row.email)
    how = "owner" if row.visitor_id == row.user_id else await entered_as(session, row.workspace_id, visitor)
    trail.identify(session_id=row.session_id)
    detail = f"{route.template}: {how}"
    trail.record(session, "workspace_entered", "workspace", str(row.workspace_id), actor=visitor, detail=detail)
    return value


async def purge(session: AsyncSession) -> int:
    """Delete a batch of expired codes and of cookies without live session; returns the count. Repeat until 0."""
    now = utcnow()
    codes = await delete_batch(session, Handoff, Handoff.expires_at < now)
    over = exists().where(
        Session.id == WorkspaceCookie.session_id, or_(Session.ended_at.is_not(None), Session.expires_at < now)
    )
    return codes + await delete_batch(session, WorkspaceCookie, over)
