"""What becomes of a request for a link to an address that had enough mails for this hour.

Anybody may have asked for those. Without more, a flood of requests keeps an owner out of a browser that is new to
them: the links in their mailbox are over, and no further one comes. So the links that were mailed are good again.
Only who reads the mailbox has it, and no mail is sent, however often that is asked for.
"""

from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.settings.model import Settings
from app.models import LinkRequest, LinkRequestState, MagicLink, utcnow

# As long as the limit counts: no link lives longer than that and its own life.
WINDOW = timedelta(hours=1)


async def renew_link(session: AsyncSession, settings: Settings, address: str) -> bool:
    """Make the mailed links of a normalised address good for another life. May be repeated.

    False where the last hour's links were used instead, so that a new one has to be mailed: each such mail needs
    somebody who reads the mailbox. True where there is nothing more to do: links are good again, a mail is under way,
    or none was ever taken.
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
    # Mails overtake each other, so that the newest in the mailbox need not have the newest link: each of them is good
    # again. One that is being used at this moment is not waited for.
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
    """Whether a mail that was asked for within the limit waits for the mail server."""
    waiting = select(LinkRequest.id).where(
        LinkRequest.email == address,
        LinkRequest.state == LinkRequestState.QUEUED,
        ~LinkRequest.renewal,
    )
    return await session.scalar(waiting.limit(1)) is not None
