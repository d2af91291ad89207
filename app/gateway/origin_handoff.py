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

from sqlalchemy import and_, exists, func, or_, select, update
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

CODE_LIFE = timedelta(seconds=60)
# Codes per session in that time, redeemed or not: each redeemed one adds a cookie and an audit row.
MAX_CODES = 50
ENTER_PATH = "/.spawner/enter"
_visitor, _owner = aliased(User, name="visitor"), aliased(User, name="owner")


async def make_code(
    session: AsyncSession, resources: Resources, caller: Principal, slug: str, template: str, state: str
) -> str | None:
    """Create a code for one workspace cookie, valid for a minute in the browser that holds `state`.

    Returns None without a workspace that the caller may enter. Raises `TooManyEntries`.
    """
    workspace_id = await _find_enterable(session, resources, caller, slug, template)
    if workspace_id is None:
        return None
    # Serialises concurrent requests, which must count each other's codes.
    await session.execute(select(Session.id).where(Session.id == caller.session_id).with_for_update(key_share=True))
    lately = and_(Handoff.session_id == caller.session_id, Handoff.expires_at > utcnow())
    if (await session.scalar(select(func.count()).where(lately)) or 0) >= MAX_CODES:
        raise TooManyEntries(headers={"Retry-After": str(int(CODE_LIFE.total_seconds()))})
    code = new_token()
    session.add(
        Handoff(
            code_hash=resources.tokens.hash("handoff", f"{code}.{state}"),
            session_id=caller.session_id,
            workspace_id=workspace_id,
            expires_at=utcnow() + CODE_LIFE,
        )
    )
    return code


async def _find_enterable(
    session: AsyncSession, resources: Resources, caller: Principal, slug: str, template: str
) -> UUID | None:
    """Return the workspace of this name if the caller may enter it."""
    query = (
        select(Workspace.id)
        .join(_owner, _owner.id == Workspace.user_id)
        .join(_visitor, _visitor.id == caller.user.id)
        .where(
            _owner.slug == slug,
            Workspace.template == template,
            may_enter(resources.settings.host_mode, _visitor, _owner),
        )
    )
    return await session.scalar(query)


async def enter_url(
    session: AsyncSession, resources: Resources, caller: Principal, route: str, next_path: str, state: str | None
) -> str | None:
    """Return the address that brings the caller's browser, signed in, to `next_path` of this workspace.

    `next_path` and `state` come from the query of `/open/{route}`. Without a state, the browser first visits the
    workspace's origin, gets one, and returns. None if the route is unknown or foreign. Writes only with a state.
    """
    names = split_route(route)
    if names is None:
        return None
    origin, base = origin_of(resources.settings, route), base_path(resources.settings, route).rstrip("/")
    known = state if state is not None and is_token(state) else None
    path = safe_path(next_path)
    if known is None:
        found = await _find_enterable(session, resources, caller, *names)
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
    hashes = [digest for state in states for digest in resources.tokens.hashes("handoff", f"{code}.{state}")]
    spent = await session.execute(
        update(Handoff)
        .where(
            Handoff.code_hash.in_(hashes),
            Handoff.spent_at.is_(None),
            Handoff.expires_at > utcnow(),
            Handoff.session_id == Session.id,
            Handoff.workspace_id == Workspace.id,
            Workspace.template == route.template,
            Workspace.user_id == _owner.id,
            _owner.slug == route.slug,
            Session.user_id == _visitor.id,
            _visitor.blocked_at.is_(None),
            may_enter(resources.settings.host_mode, _visitor, _owner),
            session_lives(),
        )
        .values(spent_at=utcnow())
        .returning(Handoff.session_id, Handoff.workspace_id, _visitor.id, Workspace.user_id)
        .execution_options(synchronize_session=False)
    )
    row = spent.one_or_none()
    if row is None:
        return None
    session_id, workspace_id, visitor_id, owner_id = row
    value = new_token()
    digest = resources.tokens.hash("workspace", value)
    session.add(WorkspaceCookie(token_hash=digest, session_id=session_id, workspace_id=workspace_id))
    visitor = await session.get_one(User, visitor_id)
    how = "owner" if visitor_id == owner_id else await entered_as(session, workspace_id, visitor)
    trail.identify(session_id=session_id)
    trail.record(
        session, "workspace_entered", "workspace", str(workspace_id), actor=visitor, detail=f"{route.template}: {how}"
    )
    return value


async def purge(session: AsyncSession) -> int:
    """Delete a batch of expired codes and of cookies without live session; returns the count. Repeat until 0."""
    now = utcnow()
    codes = await delete_batch(session, Handoff, Handoff.expires_at < now)
    over = exists().where(
        Session.id == WorkspaceCookie.session_id, or_(Session.ended_at.is_not(None), Session.expires_at < now)
    )
    return codes + await delete_batch(session, WorkspaceCookie, over)
