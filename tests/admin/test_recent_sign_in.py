"""The strongest acts need a session that began lately: not a token, and not a browser that was left open."""

from datetime import timedelta

import httpx
from sqlalchemy import select, update

from app.models import Session, Workspace, utcnow
from app.resources import Resources
from tests.api.streaming import make_workspace
from tests.support.factories import SignedIn, make_token, make_user, sign_in

REASON = {"reason": "The owner asked for help."}


async def paths(resources: Resources) -> list[tuple[str, str]]:
    """The strongest acts, on somebody of their own."""
    bob = await make_user(resources, "bob")
    await make_workspace(resources, bob)
    async with resources.reads() as session:
        workspace = (await session.scalars(select(Workspace.id))).one()
    user = f"/api/admin/users/{bob.id}"
    return [
        ("POST", f"{user}/promote"),
        ("POST", f"{user}/demote"),
        ("POST", f"/api/admin/workspaces/{workspace}/access"),
        ("DELETE", user),
    ]


async def age(resources: Resources, signed_in: SignedIn, **since: float) -> None:
    async with resources.unit_of_work() as session:
        began = utcnow() - timedelta(**since)
        await session.execute(update(Session).where(Session.id == signed_in.session.id).values(created_at=began))


async def test_an_old_session_is_asked_to_sign_in_again_and_a_young_one_is_not(
    client: httpx.AsyncClient, resources: Resources, root: SignedIn
) -> None:
    acts = await paths(resources)
    await age(resources, root, minutes=15, seconds=1)
    for method, path in acts:
        answer = await client.request(method, path, headers=root.headers, json=REASON)
        assert (answer.status_code, answer.json()["code"]) == (403, "sign_in_again"), path
    await age(resources, root, minutes=14)
    for method, path in acts:
        answer = await client.request(method, path, headers=root.headers, json=REASON)
        assert answer.status_code in (200, 201, 204), (path, answer.text)


async def test_an_old_session_still_blocks_and_signs_out(
    client: httpx.AsyncClient, resources: Resources, root: SignedIn
) -> None:
    bob = await sign_in(resources, "bob")
    await age(resources, root, hours=5)
    user = f"/api/admin/users/{bob.user.id}"
    for method, path in (("DELETE", f"{user}/sessions"), ("POST", f"{user}/block"), ("POST", f"{user}/unblock")):
        assert (await client.request(method, path, headers=root.headers)).status_code in (200, 204)


async def test_no_admin_token_changes_standing_ends_sessions_or_enters(
    client: httpx.AsyncClient, resources: Resources, root: SignedIn
) -> None:
    acts = await paths(resources)
    user = acts[-1][1]
    token = {"Authorization": f"Bearer {await make_token(resources, root.user, 'admin', 'workspaces', 'read')}"}
    for method, path in [*acts, ("POST", f"{user}/block"), ("DELETE", f"{user}/sessions")]:
        answer = await client.request(method, path, headers=token, json=REASON)
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope"), path
