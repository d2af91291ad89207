"""What the tests of signing in share."""

from datetime import timedelta

import pytest

from app.models import MagicLink, User, utcnow
from app.resources import Resources
from app.security.tokens import new_token
from tests.factories import SignedIn, sign_in


async def make_link(resources: Resources, user: User, *, seconds: float = 600) -> str:
    """A link of the user, as if mailed; its token."""
    token = new_token()
    link = MagicLink(
        user_id=user.id,
        token_hash=resources.tokens.hash("link", token),
        expires_at=utcnow() + timedelta(seconds=seconds),
    )
    async with resources.unit_of_work() as session:
        session.add(link)
    return token


@pytest.fixture
async def alice(resources: Resources) -> SignedIn:
    """Somebody who is signed in."""
    return await sign_in(resources)
