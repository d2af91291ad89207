"""Whatever ends a sign-in holds at the next request, everywhere, on every process, and without Redis' help."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
import pytest
from sqlalchemy import update

from app.admin.account_deletion import delete_user
from app.core.settings.model import Settings
from app.models import ApiToken, User, Workspace, WorkspaceCookie, WorkspaceStatus, utcnow
from app.resources import Resources
from app.security.tokens import new_token
from tests.api.conftest import serving
from tests.support.factories import SignedIn, make_token, make_user, sign_in
from tests.support.gate import gateway_of

SAME = {"Sec-Fetch-Site": "same-origin"}
Ask = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


@dataclass(frozen=True, slots=True)
class Held:
    """Alice, an admin beside another one, with everything that lets her in."""

    who: SignedIn
    token: str
    workspace: str

    def headers(self, name: str) -> dict[str, str]:
        return {
            "bearer": self.who.headers,
            "cookie": {**SAME, "Cookie": f"spawner_session={self.who.cookie}"},
            "refresh": {**SAME, "Cookie": f"spawner_refresh={self.who.refresh}"},
            "token": {"Authorization": f"Bearer {self.token}"},
        }[name]

    async def get_in(self, client: httpx.AsyncClient, gateway: httpx.AsyncClient) -> dict[str, int]:
        """The status of a request with each of them: API, pages, and the gateway."""
        found = {}
        for name in ("bearer", "cookie", "refresh", "token"):
            for path in ("/api/user/me", "/api/admin/overview", "/account"):
                if (name, path) != ("token", "/account"):
                    answer = await client.get(path, headers=self.headers(name))
                    found[f"{name} {path}"] = answer.status_code
                client.cookies.clear()
        visit = {
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Host": "alice-hello.localhost:8080",
            "X-Forwarded-Uri": "/",
            "Cookie": f"spawner_workspace={self.workspace}",
        }
        found["workspace"] = (await gateway.get("/internal/gateway", headers=visit)).status_code
        return found


@pytest.fixture
async def held(resources: Resources) -> Held:
    await make_user(resources, "root", is_admin=True)
    who = await sign_in(resources, await make_user(resources, is_admin=True))
    value = new_token()
    async with resources.unit_of_work() as session:
        workspace = Workspace(
            user_id=who.user.id, template="hello", status=WorkspaceStatus.RUNNING, host="127.0.0.1", port=1
        )
        session.add(workspace)
        await session.flush()
        digest = resources.tokens.hash("workspace", value)
        session.add(WorkspaceCookie(token_hash=digest, session_id=who.session.id, workspace_id=workspace.id))
    return Held(who, await make_token(resources, who.user, "read", "admin"), value)


async def end(how: str, client: httpx.AsyncClient, resources: Resources, held: Held) -> None:
    match how:
        case "logout":
            await client.post("/api/auth/logout", headers=held.who.headers)
        case "sign_out":
            await client.post("/sign-out", headers=held.headers("cookie"))
        case "elsewhere":
            other = await sign_in(resources, held.who.user)
            await client.delete("/api/auth/sessions", headers=other.headers)
    async with resources.unit_of_work() as session:
        match how:
            case "block":
                await session.execute(update(User).where(User.id == held.who.user.id).values(blocked_at=utcnow()))
            case "delete":
                await delete_user(session, held.who.user.id, actor="command")
            case "demote":
                await session.execute(update(User).where(User.id == held.who.user.id).values(is_admin=False))
            case "revoke":
                await session.execute(update(ApiToken).values(revoked_at=utcnow()))


@pytest.mark.parametrize("how", ["logout", "sign_out", "elsewhere", "block", "delete", "demote", "revoke"])
async def test_the_end_holds_at_the_next_request_after_flushall_and_restart(
    client: httpx.AsyncClient,
    gateway_client: httpx.AsyncClient,
    resources: Resources,
    settings: Settings,
    held: Held,
    how: str,
) -> None:
    before = await held.get_in(client, gateway_client)
    assert set(before.values()) == {200}, before
    await end(how, client, resources, held)
    await resources.redis.flushall()
    async with serving(settings) as restarted, gateway_of(settings) as restarted_gateway:
        for processes in ((client, gateway_client), (restarted, restarted_gateway)):
            after = await held.get_in(*processes)
            for name, status in after.items():
                assert status == expected(how, name), (how, name)


def expected(how: str, name: str) -> int:
    """What a request with that gets afterwards."""
    if how == "demote":
        return 403 if "admin" in name else 200
    lives = name.startswith("token") if how in ("logout", "sign_out", "elsewhere") else False
    if how == "revoke":
        lives = not name.startswith("token")
    if lives:
        return 200
    return 303 if name.endswith("/account") else 401
