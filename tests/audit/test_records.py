"""Each act is written down, once, with who did it and from where, in the act's own transaction."""

import asyncio
from collections.abc import Iterable, Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import func, select, update
from starlette.routing import BaseRoute

from app.accounts.denials import Denials
from app.audit import trail
from app.models import ApiToken, AuditEntry, User, Workspace, WorkspaceStatus
from app.resources import Resources
from app.runtime.base import RunState, Status
from app.workspaces import service
from app.workspaces.observe import apply_observation
from tests.api.conftest import Scene, alice, scene
from tests.api.operations import OPERATIONS
from tests.api.provoke import provoke
from tests.api.streaming import make_workspace
from tests.support.factories import SignedIn, make_token, make_user, sign_in

__all__ = ["alice", "scene"]

UNSAFE = ("post", "put", "delete", "patch")
# Operations that change something and leave no row, and why.
SILENT = {
    "signup": "a request for a link is a row of its own, and nobody has done anything yet",
    "login": "the same",
    "verify": "signing in is written by whoever spends the link",
    "verify_code": "the same",
    "look_at_link": "nothing is spent",
    "refresh": "the session goes on as it is",
    "extend_workspace": "the caller's own workspace rests later; nothing is given or taken",
}
# Pages of the same acts: what they call is what the API calls.
PAGES = {
    "/sign-in": "a request for a link",
    "/sign-out": "logout",
    "/home/workspaces/{type}/extend": "extend_workspace",
    "/home/workspaces/{type}/keep": "extend_workspace",
    "/home/workspaces/{type}/cancel": "cancel_job",
    "/home/workspaces/{type}/{kind}": "container_launch, restart_workspace, stop_workspace, delete_workspace",
    "/open/{route}": "container_launch",
    "/account/sessions/{id}/end": "end_session",
    "/account/sessions/end": "end_others",
    "/account/tokens": "make_token",
    "/account/tokens/{id}/revoke": "revoke_token",
    "/home/workspaces/{type}/shares": "make_share",
    "/home/workspaces/{type}/shares/{id}/revoke": "revoke_share",
    "/home/workspaces/{type}/share-links": "make_share_link",
    "/home/workspaces/{type}/share-links/{id}/revoke": "revoke_share_link",
    "/home/shared/{id}/leave": "leave_share",
}


async def rows(resources: Resources, **wanted: str) -> list[AuditEntry]:
    async with resources.reads() as session:
        query = select(AuditEntry).filter_by(**wanted).order_by(AuditEntry.id)
        return list(await session.scalars(query))


async def test_each_operation_that_changes_something_leaves_a_row(scene: Scene) -> None:
    changing = {name for name, one in OPERATIONS.items() if one.method.lower() in UNSAFE}
    assert set(SILENT) <= changing
    for name in sorted(changing - set(SILENT)):
        before = len(await rows(scene.resources))
        # Where 202 is an answer, 200 says that nothing was left to do.
        status = max(OPERATIONS[name].statuses)
        scene.alice = await sign_in(scene.resources, f"a{name.replace('_', '')}"[:24])
        await sign_in(scene.resources, scene.alice.user)
        answer = await provoke(scene, (name, status))
        assert answer.status_code == status, (name, answer.text)
        found = (await rows(scene.resources))[before:]
        assert found, name
        assert all(row.request_id and row.address == "127.0.0.1" for row in found), name


def every_route(routes: Iterable[BaseRoute]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif (included := getattr(route, "original_router", None)) is not None:
            yield from every_route(included.routes)


def test_each_page_that_changes_something_is_named(app: FastAPI) -> None:
    pages = {
        route.path
        for route in every_route(app.routes)
        if not route.include_in_schema and {method.lower() for method in route.methods or ()} & set(UNSAFE)
    }
    assert pages == set(PAGES)


async def test_an_act_that_is_rolled_back_leaves_no_row(resources: Resources) -> None:
    user = await make_user(resources)

    async def fail() -> None:
        async with resources.unit_of_work() as session:
            await service.request(session, resources, user, "hello")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await rows(resources) == []


async def test_a_launch_that_is_joined_is_one_act(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    for _ in range(3):
        await client.post("/api/container/launch/hello", headers=alice.headers)
    (row,) = await rows(resources)
    async with resources.reads() as session:
        workspace = await session.scalar(select(Workspace.id))
    said = (row.actor, row.action, row.target_kind, row.target, row.outcome, row.detail)
    wanted = ("alice@example.org", "workspace_launch_requested", "workspace", str(workspace), "ok", "hello")
    assert said == wanted


async def test_what_the_platform_launches_by_itself_is_nobodys(resources: Resources) -> None:
    user = await make_user(resources)
    async with resources.unit_of_work() as session:
        await service.request(session, resources, user, "hello", asked=False)
    (row,) = await rows(resources)
    assert (row.actor_id, row.actor) == (None, "system")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("alice", "alice"),
        ("a\r\nb\tc\0d\x1b[31m", r"a\r\nb\tc\x00d\x1b[31m"),
        ("\ud800x", r"\ud800x"),
        ("gnp.\u202egpj", r"gnp.\u202egpj"),
        ("a\u2066b\u200bc\u2028d\u00a0e", r"a\u2066b\u200bc\u2028d\xa0e"),
        (r"a\nb", r"a\\nb"),
        ("Jörg 🦊", "Jörg 🦊"),
        ("x" * 300, "x" * 254),
        ("x" * 250 + "\u202e\u202e", "x" * 250),
        ("\U000e0001" * 300, r"\U000e0001" * 25),
    ],
)
async def test_values_are_one_printable_line_and_fit_their_column(resources: Resources, value: str, kept: str) -> None:
    async with resources.unit_of_work() as session:
        trail.record(session, "tested", "value", value, actor=value, detail=value)
    (row,) = await rows(resources)
    assert (row.target, row.actor) == (kept, kept)
    assert row.detail is not None
    assert row.detail.startswith(kept)
    assert len(row.detail) <= 500


async def refused(client: httpx.AsyncClient, who: SignedIn, *paths: str) -> set[str]:
    return {(await client.get(path, headers=who.headers)).json()["code"] for path in paths}


async def test_a_refused_attempt_is_kept_although_its_transaction_is_not(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    assert await refused(client, alice, "/api/admin/users?search=secret") == {"not_admin"}
    (row,) = await rows(resources)
    assert (row.actor, row.action, row.outcome) == ("alice@example.org", "request_refused", "not_admin")
    assert (row.target_kind, row.target) == ("route", "GET /api/admin/users")
    assert (row.address, len(row.request_id)) == ("127.0.0.1", 16)


async def test_a_flood_of_refusals_leaves_one_row_for_each_person_code_and_route(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    bob = await sign_in(resources, "bob")
    await asyncio.gather(
        *(client.get("/api/admin/users", headers=who.headers) for who in (alice, bob) for _ in range(20))
    )
    assert sorted(row.actor for row in await rows(resources)) == ["alice@example.org", "bob@example.org"]


async def test_after_a_minute_a_refusal_is_news_again(
    client: httpx.AsyncClient, app: FastAPI, resources: Resources, alice: SignedIn
) -> None:
    moments = iter((0.0, 59.0, 61.0))
    app.state.record_denial = Denials(lambda: next(moments)).record_denial
    for _ in range(3):
        await refused(client, alice, "/api/admin/users")
    assert sorted(row.detail or "" for row in await rows(resources)) == ["", "", "1 more within 60 s"]


async def test_a_minute_later_a_row_says_how_many_more_were_refused_and_from_where(
    client: httpx.AsyncClient, app: FastAPI, resources: Resources, alice: SignedIn
) -> None:
    now = [0.0]
    denials = Denials(lambda: now[0])
    app.state.record_denial = denials.record_denial
    for _ in range(5):
        await refused(client, alice, "/api/admin/users")
    await refused(client, alice, "/api/admin/jobs")
    now[0] = 59.0
    await denials.flush(resources)
    assert len(await rows(resources)) == 2
    now[0] = 60.0
    await denials.flush(resources)
    await denials.flush(resources, everything=True)
    found = await rows(resources)
    assert [(row.target, row.detail) for row in found] == [
        ("GET /api/admin/users", None),
        ("GET /api/admin/jobs", None),
        ("GET /api/admin/users", "4 more within 60 s"),
    ]
    assert {(row.actor, row.outcome, row.address) for row in found} == {("alice@example.org", "not_admin", "127.0.0.1")}
    assert len({row.request_id for row in found}) == 3
    assert {row.session_id for row in found} == {alice.session.id}


async def test_what_was_counted_is_written_when_the_process_stops(
    client: httpx.AsyncClient, app: FastAPI, resources: Resources, alice: SignedIn
) -> None:
    denials: Denials = app.state.denials
    async with denials.running(resources):
        for _ in range(3):
            await refused(client, alice, "/api/admin/users")
    assert [row.detail for row in await rows(resources)] == [None, "2 more within 60 s"]


async def test_a_refused_reading_hides_no_refused_promotion_deletion_or_export(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    user = f"/api/admin/users/{alice.user.id}"
    asked = [
        ("GET", "/api/admin/users"),
        ("POST", f"{user}/block"),
        ("POST", f"{user}/promote"),
        ("DELETE", user),
        ("GET", "/api/admin/audit/export"),
    ]
    for method, path in asked * 2:
        assert (await client.request(method, path, headers=alice.headers)).status_code == 403
    assert [row.target for row in await rows(resources)] == [f"{method} {path}" for method, path in asked]


async def test_a_flood_of_refusals_under_invented_names_leaves_one_row(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    reader = {"Authorization": f"Bearer {await make_token(resources, alice.user, 'read')}"}
    for number in range(5):
        for method, path in (("POST", f"/api/container/x{number}/stop"), ("DELETE", f"/api/container/x{number}")):
            assert (await client.request(method, path, headers=reader)).status_code == 403
    assert [row.target for row in await rows(resources)] == ["POST /api/container/x0/stop", "DELETE /api/container/x0"]


async def test_each_row_names_the_session_or_the_token_that_asked(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    root = await sign_in(resources, await make_user(resources, "root", is_admin=True))
    bob = await make_user(resources, "bob")
    secret = await make_token(resources, root.user, "admin")
    async with resources.reads() as session:
        token = await session.scalar(select(ApiToken.id))
    limits = f"/api/admin/users/{bob.id}/limits"
    for headers in (root.headers, {"Authorization": f"Bearer {secret}"}):
        assert (await client.put(limits, headers=headers, json={"running_limit": 3})).status_code == 200
    first, second = await rows(resources)
    assert (first.session_id, first.token_id) == (root.session.id, None)
    assert (second.session_id, second.token_id) == (None, token)
    answer = await client.get("/api/admin/audit", headers=root.headers)
    assert [entry["token_id"] for entry in answer.json()["entries"]] == [str(token), None]


async def test_a_request_from_another_site_is_kept_with_whose_cookie_it_carried(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in alice.cookies.items())
    for path in ("/api/container/restart", "/home/workspaces/hello/launch"):
        headers = {"Cookie": cookie, "Origin": "https://evil.example", "Accept": "application/json"}
        assert (await client.post(path, headers=headers)).status_code == 403
    assert [(row.actor, row.outcome) for row in await rows(resources)] == [("alice@example.org", "cross_site")] * 2


async def test_strangers_and_what_is_not_theirs_leave_no_row(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await client.get("/api/admin/users")
    await client.post("/home/workspaces/hello/launch", headers={"Origin": "https://evil.example"})
    assert await refused(client, alice, "/api/jobs/7b0c3c0e-6a44-4c7e-9f0e-1f6f6d3f0a11") == {"not_found"}
    assert await rows(resources) == []


async def test_the_refusal_is_answered_where_it_cannot_be_written(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, app: FastAPI
) -> None:
    async with resources.unit_of_work() as session:
        await session.execute(update(User).values(email="a" * 254))

    class Away(Denials):
        def _count(self, *_: object) -> None:
            raise ConnectionRefusedError

    app.state.record_denial = Away().record_denial
    assert await refused(client, alice, "/api/admin/users") == {"not_admin"}


async def test_the_last_admins_attempt_on_themselves_is_kept(client: httpx.AsyncClient, resources: Resources) -> None:
    root = await sign_in(resources, await make_user(resources, "root", is_admin=True))
    path = f"/api/admin/users/{root.user.id}"
    for method, act in (("POST", "/block"), ("POST", "/demote"), ("DELETE", "")):
        answer = await client.request(method, path + act, headers=root.headers)
        assert (answer.status_code, answer.json()["code"]) == (409, "last_admin")
    async with resources.reads() as session:
        kept = await session.scalar(select(func.count()).where(User.is_admin, User.blocked_at.is_(None)))
    assert kept == 1
    assert [(row.target, row.outcome) for row in await rows(resources)] == [
        (f"POST {path}/block", "last_admin"),
        (f"POST {path}/demote", "last_admin"),
        (f"DELETE {path}", "last_admin"),
    ]


async def test_a_workspace_that_is_given_up_is_written_down(resources: Resources) -> None:
    workspace = await make_workspace(resources, await make_user(resources), WorkspaceStatus.RUNNING)
    async with resources.unit_of_work() as session:
        await session.execute(update(Workspace).values(restarts=99))
        assert await apply_observation(session, resources, workspace.id, 1, Status(RunState.EXITED, exit_code=3))
    (row,) = await rows(resources)
    assert (row.actor, row.action, row.detail) == ("system", "workspace_given_up", "exited")
