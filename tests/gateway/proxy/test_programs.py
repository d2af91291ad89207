"""Personal tokens at a workspace's door: for programs, for one's own workspaces, and while they live."""

import asyncio
import shutil
import time
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.models import ApiToken, Share, User, Workspace, WorkspaceStatus, utcnow
from tests.support.clocks import Time
from tests.support.factories import make_token
from tests.support.proxy import Owned, Site
from tests.support.sockets import basic, last, socket

LIMIT = 2.0


async def bearer(site: Site, owned: Owned, *scopes: str) -> dict[str, str]:
    token = await make_token(site.resources, owned.owner.user, *(scopes or ("workspaces",)))
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "browser",
    [
        {"Origin": "{own}"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Dest": "empty"},
    ],
)
async def test_a_browsers_page_gets_nowhere_with_a_token(site: Site, browser: dict[str, str]) -> None:
    owned = await site.own()
    headers = {name: value.format(own=site.origin(owned.route)) for name, value in browser.items()}
    token = await bearer(site, owned)
    for cookie in ({}, owned.cookie):
        answer = await site.ask(owned.route, "/", {**cookie, **headers, **token})
        assert (answer.status_code, answer.json()["code"]) == (403, "token_in_browser")
    secret = token["Authorization"].partition(" ")[2]
    for more, query in ((token, ""), ({}, f"?token={secret}"), ({"Sec-WebSocket-Protocol": secret}, "")):
        with pytest.raises(InvalidStatus) as refused:
            await socket(site, owned, {**headers, **more}, query).__aenter__()
        assert refused.value.response.status_code in (401, 403)
    assert site.edge.peer.received == []


async def test_only_the_scope_for_workspaces_opens_them(site: Site) -> None:
    owned = await site.own()
    for scopes in (("read",), ("admin",), ("read", "admin")):
        answer = await site.ask(owned.route, "/", await bearer(site, owned, *scopes))
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
        assert 'scope="workspaces"' in answer.headers["www-authenticate"]
    assert site.edge.peer.received == []


async def test_a_token_opens_nobody_elses_workspace_and_what_is_not_there_is_the_same(site: Site) -> None:
    owned = await site.own()
    bob = await site.visitor(owned, "bob")
    admin = await site.visitor(owned, "carol", reason="because")
    for visitor in (bob, admin):
        token = await bearer(site, visitor)
        answers = []
        for route in (owned.route, "nobody-hello", "bob-nothing"):
            answer = await site.ask(route, "/", token)
            answers.append((answer.status_code, {**answer.json(), "request_id": ""}))
        assert answers == [answers[0]] * 3
        assert answers[0][0] == 404
    assert site.edge.peer.received == []


async def test_a_program_without_a_good_token_is_told_how_to_show_one(site: Site) -> None:
    owned = await site.own()
    for headers in ({}, {"Authorization": "Bearer spawner_" + "x" * 43}, {"Authorization": basic("", "spawner_short")}):
        answer = await site.ask(owned.route, "/", headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == 'Basic realm="Spawner", Bearer'
    # A browser would ask its person for a password.
    answer = await site.ask(owned.route, "/", {"Sec-Fetch-Site": "same-origin"})
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_token_counts_before_a_cookie(site: Site) -> None:
    owned, bob = await site.own(), await site.own("bob")
    assert (await site.ask(owned.route, "/", {**owned.cookie, **await bearer(site, bob)})).status_code == 404
    dead = {"Authorization": "Bearer spawner_" + "x" * 43}
    assert (await site.ask(owned.route, "/", {**owned.cookie, **dead})).status_code == 401


async def test_use_is_noted_once_a_minute(site: Site, time: Time) -> None:
    owned = await site.own()
    token, seen = await bearer(site, owned), []
    for seconds in (0, 30, 31):
        time.pass_(seconds=seconds)
        assert (await site.ask(owned.route, "/", token)).status_code == 200
        async with site.resources.sessions() as session:
            seen.append(await session.scalar(select(ApiToken.used_at)))
    assert seen == [time.now - timedelta(seconds=61)] * 2 + [time.now]


async def test_a_stopped_workspace_is_not_started_and_a_program_gets_no_page(site: Site) -> None:
    owned = await site.own(status=WorkspaceStatus.STOPPED)
    answer = await site.ask(owned.route, "/", {**await bearer(site, owned), "Accept": "text/html"})
    assert (answer.status_code, answer.json()["code"]) == (503, "workspace_not_running")
    async with site.resources.sessions() as session:
        assert await session.scalar(select(Workspace.status)) is WorkspaceStatus.STOPPED


async def test_a_container_that_does_not_answer_is_named_to_a_program_too(site: Site) -> None:
    owned = await site.own(port=1)
    answer = await site.ask(owned.route, "/", await bearer(site, owned))
    assert (answer.status_code, answer.json()["code"]) == (503, "workspace_unreachable")


ENDS = ["revoked", "expired", "blocked", "stopped", "replaced", "scope"]


async def end(site: Site, owned: Owned, how: str) -> None:
    mine = ApiToken.user_id == owned.owner.user.id
    row = update(Workspace).where(Workspace.id == owned.workspace.id)
    statement = {
        "revoked": update(ApiToken).where(mine).values(revoked_at=utcnow()),
        "expired": update(ApiToken).where(mine).values(expires_at=utcnow()),
        "scope": update(ApiToken).where(mine).values(scopes=["read"]),
        "blocked": update(User).where(User.id == owned.owner.user.id).values(blocked_at=utcnow()),
        "stopped": row.values(status=WorkspaceStatus.STOPPED, host=None, port=None),
        "replaced": row.values(revision=2),
    }[how]
    async with site.resources.unit_of_work() as session:
        await session.execute(statement)


async def test_a_programs_websocket_ends_within_two_seconds_of_its_token(site: Site) -> None:
    places = [await site.own(f"u{number}") for number in range(len(ENDS) + 1)]
    sockets = [await socket(site, place, await bearer(site, place)) for place in places]
    try:
        for connection in sockets:
            await connection.send("hello")
            assert await connection.recv() == "hello"
        for how, place in zip(ENDS, places, strict=False):
            await end(site, place, how)
        began = time.monotonic()
        for how, connection in zip(ENDS, sockets, strict=False):
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(connection.recv(), LIMIT)
            assert time.monotonic() - began < LIMIT, how
        await sockets[-1].send("still here")
        assert await sockets[-1].recv() == "still here"
    finally:
        for connection in sockets:
            await connection.close()


@pytest.mark.parametrize("how", ["revoked", "expired", "blocked", "scope"])
async def test_the_next_request_after_a_tokens_end_is_refused(site: Site, how: str) -> None:
    owned = await site.own()
    token = await bearer(site, owned)
    assert (await site.ask(owned.route, "/", token)).status_code == 200
    await end(site, owned, how)
    assert (await site.ask(owned.route, "/", token)).status_code == (403 if how == "scope" else 401)
    assert len(site.edge.peer.received) == 1


async def test_a_share_lets_no_token_in_that_is_not_the_owners(site: Site) -> None:
    owned = await site.own()
    bob = await site.visitor(owned, "bob")
    token = await bearer(site, bob)
    with pytest.raises(InvalidStatus) as refused:
        await socket(site, owned, token).__aenter__()
    assert refused.value.response.status_code == 404
    async with site.resources.sessions() as session:
        assert (await session.scalars(select(Share))).one().revoked_at is None


async def test_curl_and_git_find_their_way_in(site: Site) -> None:
    """git shows its password only after a 401 that asks for one."""
    owned = await site.own()
    token = (await bearer(site, owned))["Authorization"].partition(" ")[2]
    host, path = site.host(owned.route), site.path(owned.route, "/repo.git")
    resolve = f"{host}:127.0.0.1"
    curl = ["curl", "-sS", "--noproxy", "*", "--resolve", resolve, "-u", f"me:{token}"]
    assert await run(*curl, f"http://{host}{path}") == (0, "two\n")
    await run("git", "-c", f"http.curloptResolve={resolve}", "ls-remote", f"http://me:{token}@{host}{path}")
    assert last(site).target.endswith("/repo.git/info/refs?service=git-upload-pack")
    assert last(site).get("authorization") == []
    assert token not in repr(site.edge.peer.received)


async def run(*command: str) -> tuple[int, str]:
    program = shutil.which(command[0])
    assert program is not None, command[0]
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "GIT_TERMINAL_PROMPT": "0"}
    child = await asyncio.create_subprocess_exec(
        program, *command[1:], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=environment
    )
    async with asyncio.timeout(30):
        output, _ = await child.communicate()
    assert child.returncode is not None
    return child.returncode, output.decode()
