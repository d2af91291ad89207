"""What the tests of mail share."""

from collections.abc import AsyncIterator

import pytest

from tests.letters import PostOffice, open_post_office


@pytest.fixture
async def post_office() -> AsyncIterator[PostOffice]:
    """A mail server of this test alone."""
    async with open_post_office() as office:
        yield office
