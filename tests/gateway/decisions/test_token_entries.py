"""A token that enters a workspace is in the audit trail: once an hour, whichever process it comes to."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import select

from app.core.errors import InsufficientScope
from app.gateway.decide import GatewayContext, answer
from app.gateway.token_entries import TokenEntries
from app.models import ApiToken, AuditEntry
from tests.support.clocks import Time
from tests.support.factories import make_token
from tests.support.gate import Gate, make_workspace


async def entered(gate: Gate) -> list[AuditEntry]:
    query = select(AuditEntry).where(AuditEntry.action == "workspace_entered").order_by(AuditEntry.id)
    async with gate.resources.reads() as session:
        return list(await session.scalars(query))


async def enter(gate: Gate, desk: GatewayContext, token: str, uri: str = "/alice-hello/lab") -> None:
    await answer(desk, gate.visit(cookies=(), authorization=(f"Bearer {token}",), uri=uri))


async def test_a_token_leaves_one_row_an_hour_for_each_workspace_over_all_processes(gate: Gate, time: Time) -> None:
    token = await make_token(gate.resources, gate.alice.user, "workspaces")
    other = await make_workspace(gate.resources, gate.alice, template="jupyter")
    processes = [replace(gate.desk, token_entries=TokenEntries()) for _ in range(2)]
    await asyncio.gather(*(enter(gate, desk, token) for desk in processes * 3))
    (row,) = await entered(gate)
    async with gate.resources.reads() as session:
        token_id = (await session.scalars(select(ApiToken.id))).one()
    assert (row.actor, row.target, row.detail) == (gate.alice.user.email, str(gate.workspace.id), "hello: token")
    assert (row.token_id, row.session_id) == (token_id, None)
    await enter(gate, gate.desk, token, "/alice-jupyter/lab")
    assert [row.target for row in await entered(gate)] == [str(gate.workspace.id), str(other.id)]
    time.pass_(minutes=59)
    await enter(gate, processes[0], token)
    assert len(await entered(gate)) == 2
    time.pass_(minutes=2)
    await enter(gate, processes[0], token)
    assert [row.target for row in await entered(gate)][2:] == [str(gate.workspace.id)]


async def test_a_token_that_may_not_enter_leaves_none(gate: Gate) -> None:
    token = await make_token(gate.resources, gate.alice.user, "read")
    with pytest.raises(InsufficientScope):
        await enter(gate, gate.desk, token)
    assert await entered(gate) == []


async def test_a_cookies_requests_leave_none_beside_that_of_its_entry(gate: Gate) -> None:
    await gate.ask()
    assert await entered(gate) == []
