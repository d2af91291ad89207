"""Whoever enters a workspace leaves a row: its owner, a visitor, or an admin who took access."""

from uuid import uuid4

import httpx
from sqlalchemy import select

from app.accounts.principal import Principal
from app.core.addresses import Route
from app.gateway.origin_handoff import exchange, make_code
from app.models import AuditEntry, Share, Workspace, WorkspaceStatus
from app.resources import Resources
from app.security.tokens import new_token
from tests.api.streaming import make_workspace
from tests.support.factories import SignedIn, make_user, sign_in

STATE = "s" * 43


async def enter(resources: Resources, who: SignedIn, *, state: str = STATE) -> str | None:
    """The value of the workspace cookie, or None."""
    async with resources.unit_of_work() as session:
        code = await make_code(session, resources, Principal(who.user, who.session.id), "alice", "hello", STATE)
    async with resources.unit_of_work() as session:
        return await exchange(session, resources, Route("alice", "hello", "", "/"), code or new_token(), [state])


async def test_each_who_enters_is_written_down_with_how_they_may(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    alice, bob, eve = await sign_in(resources), await sign_in(resources, "bob"), await sign_in(resources, "eve")
    root = await sign_in(resources, await make_user(resources, "root", is_admin=True))
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    async with resources.unit_of_work() as session:
        workspace = (await session.scalars(select(Workspace))).one()
        session.add(Share(workspace_id=workspace.id, email=bob.user.email))
    answer = await client.post(
        f"/api/admin/workspaces/{workspace.id}/access",
        headers=root.headers,
        json={"reason": "The owner asked for help."},
    )
    assert answer.status_code == 201
    assert [await enter(resources, who) is not None for who in (alice, bob, root, eve)] == [True, True, True, False]
    assert await enter(resources, alice, state=str(uuid4())) is None
    async with resources.reads() as session:
        query = select(AuditEntry).where(AuditEntry.action == "workspace_entered").order_by(AuditEntry.id)
        rows = (await session.scalars(query)).all()
    assert [(row.actor, row.detail, row.session_id) for row in rows] == [
        ("alice@example.org", "hello: owner", alice.session.id),
        ("bob@example.org", "hello: visitor", bob.session.id),
        ("root@example.org", "hello: admin", root.session.id),
    ]
    assert {row.target for row in rows} == {str(workspace.id)}
    mine = (await client.get("/api/user/activity", headers=alice.headers)).json()["activity"]
    assert [entry["action"] for entry in mine if entry["action"] == "workspace_entered"] == ["workspace_entered"] * 3
