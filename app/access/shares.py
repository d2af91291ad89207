"""Shares of a workspace: by address, by an expiring link, and admin access with a reason.

A share stores an address without looking up an account: neither response, timing nor list reveals whether one exists.
Anyone who signs in with the address may enter.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.access.errors import InvalidShareLink, SharedOrigin, TooManyShares
from app.access.policy import is_live, lets_in
from app.access.schemas import NewShareLinkOut, SharedOut, ShareLinkOut, ShareOut
from app.accounts.change_limits import count_change
from app.accounts.emails import is_misleading
from app.audit import trail
from app.core.addresses import workspace_url
from app.core.errors import NotFound
from app.core.i18n import Locale
from app.core.printable import printable
from app.core.retention import delete_batch
from app.models import Share, ShareLink, User, Workspace, utcnow
from app.resources import Resources
from app.security.tokens import new_token

# Concurrent shares per workspace.
MAX_SHARES = 50
MAX_LINKS = 20
# How long the owner sees past admin access.
ADMIN_LISTED = timedelta(days=30)

_visitor, _owner = aliased(User, name="visitor"), aliased(User, name="owner")


async def share(session: AsyncSession, resources: Resources, user: User, template: str, email: str) -> ShareOut:
    """Share the user's workspace with a normalised address until revoked. Idempotent.

    Raises `NotFound` without a workspace, `TooManyShares`, `TooManyChanges` and `SharedOrigin`.
    """
    check_origins(resources)
    await count_change(session, resources, user.id)
    workspace = await _lock(session, user, template)
    made = await grant_share(session, workspace.id, email)
    trail.record(session, "share_made", "workspace", str(workspace.id), actor=user, detail=f"{template}: {email}")
    return view(made)


async def list_shares(session: AsyncSession, user: User, template: str) -> list[ShareOut]:
    """Return live shares and recent admin access of the user's workspace, newest first; empty without a workspace."""
    return (await list_all_shares(session, user))[template]


async def list_all_shares(session: AsyncSession, user: User) -> defaultdict[str, list[ShareOut]]:
    """Return the shares of all of the user's workspaces, by template."""
    lately = and_(Share.reason.is_not(None), Share.created_at > utcnow() - ADMIN_LISTED)
    query = (
        select(Workspace.template, Share)
        .join(Share, Share.workspace_id == Workspace.id)
        .where(Workspace.user_id == user.id, or_(is_live(), lately))
        .order_by(Share.created_at.desc(), Share.id)
    )
    found: defaultdict[str, list[ShareOut]] = defaultdict(list)
    for template, row in await session.execute(query):
        found[template].append(view(row))
    return found


async def revoke(session: AsyncSession, user: User, template: str, share_id: UUID) -> None:
    """Revoke a share of the user's workspace. Raises `NotFound`, also for an admin's access."""
    workspace = await _lock(session, user, template)
    found = and_(Share.id == share_id, Share.workspace_id == workspace.id, Share.reason.is_(None))
    ended = await _end(session, found)
    if ended is None:
        raise NotFound
    detail = f"{template}: {ended.email}"
    trail.record(session, "share_revoked", "workspace", str(workspace.id), actor=user, detail=detail)


async def make_link(
    session: AsyncSession, resources: Resources, user: User, template: str, hours: int
) -> NewShareLinkOut:
    """Create a share link. Raises `NotFound`, `TooManyShares`, `TooManyChanges` and `SharedOrigin`."""
    check_origins(resources)
    await count_change(session, resources, user.id)
    workspace = await _lock(session, user, template)
    count = await session.scalar(select(func.count()).where(ShareLink.workspace_id == workspace.id, _good()))
    if count is not None and count >= MAX_LINKS:
        raise TooManyShares
    token, now = new_token(), utcnow()
    link = ShareLink(
        workspace_id=workspace.id,
        token_hash=resources.tokens.hash("share", token),
        created_at=now,
        expires_at=now + timedelta(hours=hours),
    )
    session.add(link)
    await session.flush()
    _note_link(session, "share_link_made", user, workspace, link.id)
    url = f"{resources.settings.public_url}/share#token={token}"
    return NewShareLinkOut(id=link.id, url=url, created_at=link.created_at, expires_at=link.expires_at)


async def list_links(session: AsyncSession, user: User, template: str) -> list[ShareLinkOut]:
    """Return the valid links of the user's workspace, newest first."""
    accepted = select(func.count()).where(Share.link_id == ShareLink.id).scalar_subquery()
    query = (
        select(ShareLink, accepted)
        .join(Workspace, Workspace.id == ShareLink.workspace_id)
        .where(_own(user, template), _good())
        .order_by(ShareLink.created_at.desc(), ShareLink.id)
    )
    return [
        ShareLinkOut(id=link.id, created_at=link.created_at, expires_at=link.expires_at, accepted=count)
        for link, count in await session.execute(query)
    ]


async def revoke_link(session: AsyncSession, user: User, template: str, link_id: UUID) -> None:
    """Revoke a link of the user's workspace and all shares made with it. Raises `NotFound`."""
    workspace = await _lock(session, user, template)
    ended = (
        update(ShareLink)
        .where(ShareLink.id == link_id, ShareLink.workspace_id == workspace.id, _good())
        .values(revoked_at=utcnow())
        .returning(ShareLink.id)
    )
    if await session.scalar(ended) is None:
        raise NotFound
    await _end(session, Share.link_id == link_id)
    _note_link(session, "share_link_revoked", user, workspace, link_id)


async def accept(session: AsyncSession, resources: Resources, user: User, token: str, locale: Locale) -> SharedOut:
    """Grant the user access by a link until the link expires. Idempotent; creates no share for the owner.

    Raises `InvalidShareLink`, `TooManyShares`, `TooManyChanges` and `SharedOrigin`.
    """
    check_origins(resources)
    await count_change(session, resources, user.id)
    named: ColumnElement[bool] = ShareLink.token_hash.in_(resources.tokens.hashes("share", token))
    # Locks the workspace first, as its owner does: a link under revocation grants nothing.
    locked = select(ShareLink.workspace_id).where(named).scalar_subquery()
    await session.execute(select(Workspace.id).where(Workspace.id == locked).with_for_update(key_share=True))
    query = (
        select(ShareLink, Workspace, User)
        .join(Workspace, Workspace.id == ShareLink.workspace_id)
        .join(User, User.id == Workspace.user_id)
        .where(named, _good(), User.blocked_at.is_(None))
    )
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise InvalidShareLink
    link, workspace, owner = row
    if owner.id == user.id:
        return view_shared(resources, None, workspace, owner, locale)
    made = await grant_share(session, workspace.id, user.email, user_id=user.id, link=link)
    detail = f"{workspace.template}: {link.id}"
    trail.record(session, "share_accepted", "workspace", str(workspace.id), actor=user, detail=detail)
    return view_shared(resources, made, workspace, owner, locale)


async def list_shared(session: AsyncSession, resources: Resources, user: User, locale: Locale) -> list[SharedOut]:
    """Return the shared workspaces that the user may enter, newest first; omits removed templates."""
    query = (
        select(Share, Workspace, _owner)
        .select_from(Workspace)
        .join(_visitor, _visitor.id == user.id)
        .join(_owner, (_owner.id == Workspace.user_id) & (_owner.id != user.id))
        .join(Share, lets_in(resources.settings.host_mode, _visitor, _owner))
        .order_by(Share.created_at.desc(), Share.id)
    )
    return [
        view_shared(resources, *row, locale)
        for row in await session.execute(query)
        if resources.catalog.get(row[1].template) is not None
    ]


async def leave(session: AsyncSession, user: User, share_id: UUID) -> None:
    """End a share with the user, or the user's admin access. Raises `NotFound`."""
    ended = await _end(session, and_(Share.id == share_id, Share.email == user.email))
    if ended is None:
        raise NotFound
    trail.record(session, "share_revoked", "workspace", str(ended.workspace_id), actor=user, detail=user.email)


async def find_shared(
    session: AsyncSession, resources: Resources, user: User, slug: str, template: str
) -> Workspace | None:
    """Return another user's workspace that the user may enter, or None."""
    query = (
        select(Workspace)
        .join(_visitor, _visitor.id == user.id)
        .join(_owner, _owner.id == Workspace.user_id)
        .join(Share, lets_in(resources.settings.host_mode, _visitor, _owner))
        .where(_owner.slug == slug, Workspace.template == template)
        .limit(1)
    )
    return await session.scalar(query)


async def purge(session: AsyncSession) -> int:
    """Delete a batch of long-expired shares and links; returns the count. Repeat until 0."""
    before = utcnow() - ADMIN_LISTED
    tables = (Share, ShareLink)
    overs = [or_(table.revoked_at < before, table.expires_at < before) for table in tables]
    return sum([await delete_batch(session, table, over) for table, over in zip(tables, overs, strict=True)])


def view(row: Share) -> ShareOut:
    """Build the owner's view of a share."""
    return ShareOut(
        id=row.id,
        email=row.email,
        misleading=is_misleading(row.email),
        how="admin" if row.reason is not None else "link" if row.link_id is not None else "address",
        link_id=row.link_id,
        reason=None if row.reason is None else printable(row.reason),
        created_at=row.created_at,
        expires_at=row.expires_at,
        live=row.revoked_at is None and (row.expires_at is None or row.expires_at > utcnow()),
    )


def view_shared(
    resources: Resources, row: Share | None, workspace: Workspace, owner: User, locale: Locale
) -> SharedOut:
    template = resources.catalog.get(workspace.template)
    return SharedOut(
        id=row.id if row is not None else None,
        owner=owner.email,
        misleading=is_misleading(owner.email),
        type=workspace.template,
        display_name=template.name.format(locale) if template is not None else workspace.template,
        service_url=workspace_url(resources.settings, owner.slug, workspace.template),
        status=workspace.status,
        reason=None if row is None or row.reason is None else printable(row.reason),
        expires_at=row.expires_at if row is not None else None,
    )


def check_origins(resources: Resources) -> None:
    """Raise `SharedOrigin` if workspaces share an origin: their scripts could attack visitors."""
    if not resources.settings.host_mode:
        raise SharedOrigin


async def _lock(session: AsyncSession, user: User, template: str) -> Workspace:
    """Lock the user's workspace until the transaction ends, to count shares before adding one. Raises `NotFound`."""
    query = select(Workspace).where(_own(user, template)).with_for_update(key_share=True)
    workspace = await session.scalar(query)
    if workspace is None:
        raise NotFound
    return workspace


async def grant_share(
    session: AsyncSession, workspace_id: UUID, email: str, *, user_id: UUID | None = None, link: ShareLink | None = None
) -> Share:
    """Create or extend a share of a locked workspace."""
    link_id, until = (link.id, link.expires_at) if link is not None else (None, None)
    others = and_(Share.workspace_id == workspace_id, Share.reason.is_(None), is_live())
    same = and_(Share.email == email, Share.link_id.is_not_distinct_from(link_id))
    count: Sequence[bool] = (await session.scalars(select(same).where(others))).all()
    if len(count) >= MAX_SHARES and not any(count):
        raise TooManyShares
    row = insert(Share).values(
        workspace_id=workspace_id, email=email, user_id=user_id, link_id=link_id, expires_at=until
    )
    made: Share | None = await session.scalar(
        row.on_conflict_do_update(
            index_elements=["workspace_id", "email", "link_id"],
            index_where=and_(Share.revoked_at.is_(None), Share.reason.is_(None)),
            set_={"expires_at": until, "user_id": user_id},
        ).returning(Share)
    )
    assert made is not None  # nosec B101 # narrows the type
    return made


async def _end(session: AsyncSession, which: ColumnElement[bool]) -> Share | None:
    """Revoke live shares; returns one of them, or None."""
    ended = update(Share).where(which, is_live()).values(revoked_at=utcnow()).returning(Share)
    found: Share | None = (await session.scalars(ended)).first()
    return found


def _own(user: User, template: str) -> ColumnElement[bool]:
    """The user's workspace of a template."""
    return and_(Workspace.user_id == user.id, Workspace.template == template)


def _good() -> ColumnElement[bool]:
    """Whether a link is neither revoked nor expired."""
    return and_(ShareLink.revoked_at.is_(None), ShareLink.expires_at > utcnow())


def _note_link(session: AsyncSession, action: str, user: User, workspace: Workspace, link_id: UUID) -> None:
    detail = f"{workspace.template}: {link_id}"
    trail.record(session, action, "workspace", str(workspace.id), actor=user, detail=detail)
