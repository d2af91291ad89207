"""What the tests of the relay share."""

from collections.abc import AsyncIterator

import pytest

from app.gateway import websocket_relay as relays
from app.gateway.websocket_relay import Relay
from app.resources import Resources


@pytest.fixture
async def relay(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Relay]:
    """A relay whose grants are not looked at: their sessions are nobody's."""
    monkeypatch.setattr(relays, "LOOK_SECONDS", 60)
    made = Relay()
    async with made.running(resources):
        yield made
