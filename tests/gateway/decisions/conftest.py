"""What the tests of decisions share."""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from app.gateway.decide import GatewayContext
from app.gateway.last_activity import Activity
from app.gateway.token_entries import TokenEntries
from app.gateway.websocket_relay import Relay
from app.resources import Resources
from app.workspaces.jobs.subscriptions import JobSubscriptions
from tests.support.factories import sign_in
from tests.support.gate import OWN, Counter, Gate, make_workspace


@pytest.fixture
async def gate(resources: Resources) -> AsyncIterator[Gate]:
    resources.settings.workspace_url = f"{OWN}/{{route}}"
    watch, relay = JobSubscriptions(resources.redis, resources.settings.instance), Counter()
    alice = await sign_in(resources)
    workspace = await make_workspace(resources, alice)
    desk = GatewayContext(resources, watch, Activity(), cast(Relay, relay), TokenEntries())
    made = Gate(resources, desk, relay, alice, workspace, "")
    made.value = await made.let_in(alice, workspace)
    async with watch.running(resources):
        yield made
