"""Personal API tokens: created, listed and revoked with a session of the owner, never with a token."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.change_limits import count_change
from app.accounts.errors import MAX_TOKENS, TooManyTokens
from app.accounts.principal import TOKEN_PREFIX, Scope, token_lives
from app.audit import trail
from app.core.errors import NotAdmin, NotFound
from app.models import ApiToken, User, utcnow
from app.resources import Resources
from app.security.tokens import new_token

MAX_DAYS = 365


async def make_token(
    session: AsyncSession, resources: Resources, user: User, name: str, scopes: Sequence[Scope], expires_at: datetime
) -> tuple[ApiToken, str]:
    """Create a token; returns it with its secret, which cannot be read again.

    Raises `NotAdmin` for the scope `admin` of a non-admin, `TooManyTokens` and `TooManyChanges`.
    """
    if Scope.ADMIN in scopes and not user.is_admin:
        raise NotAdmin
    # Locks the account: concurrent requests must count each other's tokens.
    await count_change(session, resources, user.id)
    live = (ApiToken.user_id == user.id, token_lives())
    if (await session.scalar(select(func.count()).where(*live)) or 0) >= MAX_TOKENS:
        raise TooManyTokens(limit=MAX_TOKENS)
    secret = TOKEN_PREFIX + new_token()
    made = ApiToken(
        user_id=user.id,
        name=name,
        token_hash=resources.tokens.hash("token", secret),
        scopes=sorted(set(scopes)),
        created_at=utcnow(),
        expires_at=expires_at,
    )
    session.add(made)
    await session.flush()
    detail = f"{', '.join(made.scopes)} until {expires_at:%Y-%m-%d}: {name}"
    trail.record(session, "token_made", "token", str(made.id), actor=user, detail=detail)
    return made, secret


async def list_tokens(session: AsyncSession, user: User) -> Sequence[ApiToken]:
    """Return the account's valid tokens, newest first."""
    query = (
        select(ApiToken)
        .where(ApiToken.user_id == user.id, token_lives())
        .order_by(ApiToken.created_at.desc(), ApiToken.id)
    )
    return (await session.scalars(query)).all()


async def revoke_token(session: AsyncSession, user: User, token_id: UUID) -> None:
    """Revoke a token from the next request on. Raises `NotFound` unless it is a valid token of the account."""
    now = utcnow()
    revoked = await session.scalar(
        update(ApiToken)
        .where(
            ApiToken.id == token_id,
            ApiToken.user_id == user.id,
            ApiToken.revoked_at.is_(None),
            ApiToken.expires_at > now,
        )
        .values(revoked_at=now)
        .returning(ApiToken.id)
    )
    if revoked is None:
        raise NotFound
    trail.record(session, "token_revoked", "token", str(token_id), actor=user)
