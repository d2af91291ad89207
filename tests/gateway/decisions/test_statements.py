"""What a decision asks of the database: one statement, which reads a few rows however full the tables are."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.gateway.authorization import by_cookie, by_token
from app.models import JobState, Share, WorkspaceCookie
from app.resources import Resources
from tests.api.streaming import make_job
from tests.support.factories import make_token, sign_in
from tests.support.gate import APART, Gate
from tests.support.plans import fill_entries, scanned
from tests.support.statements import counted


@pytest.mark.parametrize("apart", [False, True], ids=["path", "host"])
async def test_a_request_with_a_cookie_is_decided_by_one_statement(gate: Gate, apart: bool) -> None:
    if apart:
        gate.resources.settings.workspace_url = APART
    await gate.ask()  # the minute's note of its use
    async with counted(gate.resources.engine, gate.resources.reader) as statements:
        await gate.ask(cookies=(f"spawner_workspace={'x' * 43}; spawner_workspace={gate.value}",))
        await gate.ask(
            upgrade=True, origin="http://alice-hello.apps.localhost:8080" if apart else "http://127.0.0.1:8080"
        )
    assert statements == [by_cookie(apart).sql] * 2


async def test_a_request_with_a_token_is_decided_by_one_statement(gate: Gate) -> None:
    token = await make_token(gate.resources, gate.alice.user, "workspaces")
    shown = {"authorization": (f"Bearer {token}",), "cookies": ()}
    await gate.ask(**shown)  # the hour's note that it entered
    async with counted(gate.resources.engine, gate.resources.reader) as statements:
        await gate.ask(**shown)
    assert statements == [by_token().sql]


async def test_no_decision_reads_a_table_that_grows_as_a_whole(resources: Resources, owner: AsyncEngine) -> None:
    alice = await sign_in(resources)
    job = await make_job(resources, alice.user, JobState.SUCCEEDED)
    await make_token(resources, alice.user, "workspaces")
    async with resources.unit_of_work() as session:
        session.add(WorkspaceCookie(token_hash=b"c", session_id=alice.session.id, workspace_id=job.workspace_id))
        session.add(Share(workspace_id=job.workspace_id, email="guest@example.org"))
    await fill_entries(owner)
    for statement in (by_cookie(False), by_cookie(True), by_token()):
        assert await scanned(owner, statement) == set(), statement.sql
