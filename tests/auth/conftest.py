"""What the tests of signing in share."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.auth.tokens import new_token
from app.models import MagicLink, User, utcnow
from app.resources import Resources
from tests.factories import SignedIn, sign_in
from tests.letters import Inbox, PostOffice, open_post_office


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
def inbox(maildir: Path) -> Inbox:
    """The sink's mails; those of other tests have other addresses or are gone."""
    for part in ("new", "cur"):
        for path in (maildir / part).glob("*"):
            path.unlink()
    return Inbox(maildir)


@pytest.fixture
async def post_office() -> AsyncIterator[PostOffice]:
    """A mail server of this test alone."""
    async with open_post_office() as office:
        yield office


@pytest.fixture
async def alice(resources: Resources) -> SignedIn:
    """Somebody who is signed in."""
    return await sign_in(resources)
