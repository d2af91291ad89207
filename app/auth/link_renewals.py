"""Renews links for an address that has reached its hourly mail limit.

Anyone can exhaust the limit of an address. The owner would then be locked out of new browsers: old links expire and no
new mail is sent. So the mailed links become valid again. Only a reader of the mailbox has them, and no mail is sent,
however often a renewal is requested.
"""

from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.settings.model import Settings
from app.models import LinkRequest, LinkRequestState, MagicLink, utcnow

# The window of the limit: no link lives longer than this plus its own lifetime.
WINDOW = timedelta(hours=1)


async def renew_link(session: AsyncSession, settings: Settings, address: str) -> bool:
    """Renew the mailed links of a normalised address for another lifetime. Idempotent.

    Returns False if the last hour's links were used, so a new mail is needed: each such mail requires a reader of the
    mailbox. Returns True otherwise: links are valid again, a mail is pending, or none was ever accepted.
    """
    now = utcnow()
    mailed = (
        select(MagicLink.id)
        .join(LinkRequest, LinkRequest.id == MagicLink.request_id)
        .where(
            LinkRequest.email == address,
            LinkRequest.state == LinkRequestState.SENT,
            MagicLink.created_at > now - WINDOW,
        )
    )
    # Mails can arrive out of order, so the newest mail need not hold the newest link: all links are renewed. A link in
    # use at this moment is skipped.
    unspent = mailed.where(MagicLink.spent_at.is_(None)).with_for_update(of=MagicLink, skip_locked=True)
    until = now + timedelta(seconds=settings.magic_link_seconds)
    renewed = await session.scalars(
        update(MagicLink)
        .where(MagicLink.id.in_(unspent))
        .values(expires_at=func.greatest(MagicLink.expires_at, until))
        .returning(MagicLink.id)
    )
    if renewed.all() or await session.scalar(mailed.limit(1)) is None:
        return True
    return await _is_under_way(session, address)


async def _is_under_way(session: AsyncSession, address: str) -> bool:
    """Return whether a mail requested within the window is still waiting for the mail server."""
    waiting = select(LinkRequest.id).where(
        LinkRequest.email == address,
        LinkRequest.state == LinkRequestState.QUEUED,
        ~LinkRequest.renewal,
    )
    return await session.scalar(waiting.limit(1)) is not None
