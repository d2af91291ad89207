"""How people get in, and who does not: codes, cookies, sessions and the answers to those without."""

import asyncio
import re
from datetime import timedelta
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from sqlalchemy import event, func, select, update

from app.accounts.principal import Principal
from app.gateway.cookies import MAX_TRIED
from app.gateway.origin_handoff import enter_url, purge
from app.models import Handoff, Session, Share, User, WorkspaceCookie, WorkspaceStatus, utcnow
from app.security.tokens import new_token
from tests.support.factories import SignedIn, sign_in
from tests.support.proxy import APART, SHARED_ORIGIN, Owned, Site


async def code_url(site: Site, owner: SignedIn, route: str, path: str = "/", state: str | None = None) -> str | None:
    """What the public page does once the owner is signed in there."""
    async with site.resources.unit_of_work() as session:
        return await enter_url(session, site.resources, Principal(owner.user, owner.session.id), route, path, state)


async def follow(site: Site, url: str, cookie: dict[str, str] | None = None) -> httpx.Response:
    """Navigate to an absolute address at a workspace's origin."""
    parts = urlsplit(url)
    target = f"http://127.0.0.1:{site.edge.port}{parts.path}?{parts.query}"
    headers = {"Host": parts.netloc, "Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
    return await site.http.get(target, headers={**headers, **(cookie or {})})


def entry(state: str) -> dict[str, str]:
    return {"Cookie": f"spawner_entry={state}"}


async def count(site: Site, table: type[WorkspaceCookie] | type[Handoff]) -> int:
    async with site.resources.sessions() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def test_a_person_gets_in_and_ends_where_they_wanted_to_be(site: Site) -> None:
    owned = await site.own()
    sent = await site.visit(owned.route, "/lab/a?b=1&c=%2F")
    assert sent.status_code == 302
    away = urlsplit(sent.headers["location"])
    query = {name: values[0] for name, values in parse_qs(away.query).items()}
    assert f"{away.scheme}://{away.netloc}{away.path}" == f"{site.settings.public_url}/open/{owned.route}"
    assert query["next"] == "/lab/a?b=1&c=%2F"
    given = SimpleCookie(sent.headers["set-cookie"])["spawner_entry"]
    assert given.value == query["state"]
    assert given["httponly"]

    back = await code_url(site, owned.owner, owned.route, query["next"], query["state"])
    assert back is not None
    entered = await follow(site, back, entry(given.value))
    assert entered.status_code == 303
    assert entered.headers["location"] == site.origin(owned.route) + site.path(owned.route, "/lab/a?b=1&c=%2F")
    cookie = SimpleCookie(entered.headers["set-cookie"])["spawner_workspace"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "lax"
    assert cookie["path"] == (f"/{owned.route}" if site.edge.mode == "path" else "/")
    assert not cookie["domain"]
    assert (
        await follow(site, entered.headers["location"], {"Cookie": cookie.OutputString().split(";")[0]})
    ).text == "two\n"

    again = await follow(site, back, entry(given.value))
    assert again.status_code == 400
    assert "set-cookie" not in again.headers


async def test_the_public_page_sends_its_owner_on_and_nobody_else(site: Site) -> None:
    owned = await site.own()
    bob = await sign_in(site.resources, "bob")
    sent = await site.visit(owned.route, "/lab?a=1")
    away = sent.headers["location"].removeprefix(site.settings.public_url)
    assert (await site.public(away, {"Cookie": f"spawner_session={bob.cookie}"})).status_code == 404
    on = await site.public(away, {"Cookie": f"spawner_session={owned.owner.cookie}"})
    assert on.status_code == 303
    entered = await follow(site, on.headers["location"], {"Cookie": sent.headers["set-cookie"].split(";")[0]})
    assert entered.headers["location"] == site.origin(owned.route) + site.path(owned.route, "/lab?a=1")


async def test_without_a_state_the_browser_is_sent_to_fetch_one(site: Site) -> None:
    owned = await site.own()
    for state in (None, "", "short", "x" * 43 + "\n"):
        url = await code_url(site, owned.owner, owned.route, "/lab", state)
        assert url == site.origin(owned.route) + site.path(owned.route, "/lab")


async def test_two_tabs_share_one_state(site: Site) -> None:
    owned = await site.own()
    state = new_token()
    sent = await site.visit(owned.route, "/", entry(state))
    assert parse_qs(urlsplit(sent.headers["location"]).query)["state"] == [state]
    sent = await site.visit(owned.route, "/", entry("planted"))
    assert parse_qs(urlsplit(sent.headers["location"]).query)["state"] != ["planted"]


async def test_a_code_works_in_no_other_browser(site: Site) -> None:
    owned = await site.own()
    url = await code_url(site, owned.owner, owned.route, "/", new_token())
    assert url is not None
    for cookie in ({}, entry(new_token())):
        answer = await follow(site, url, cookie)
        assert answer.status_code == 400
        assert f"/open/{owned.route}" in answer.text
        assert "set-cookie" not in answer.headers


async def test_a_code_is_for_its_own_workspace(site: Site) -> None:
    owned = await site.own()
    other = await site.own(owned.owner, "jupyter")
    state = new_token()
    url = await code_url(site, owned.owner, owned.route, "/", state)
    assert url is not None
    wrong = url.replace(owned.route, other.route)
    assert (await follow(site, wrong, entry(state))).status_code == 400
    assert (await follow(site, url, entry(state))).status_code == 303


async def test_sixteen_exchanges_at_once_have_one_success(site: Site) -> None:
    owned = await site.own()
    state = new_token()
    url = await code_url(site, owned.owner, owned.route, "/", state)
    assert url is not None
    answers = await asyncio.gather(*(follow(site, url, entry(state)) for _ in range(16)))
    assert sorted(answer.status_code for answer in answers) == [303] + [400] * 15
    assert await count(site, WorkspaceCookie) == 2


async def test_many_planted_entry_cookies_cost_one_statement_and_keep_nobody_out(site: Site) -> None:
    owned = await site.own()
    state = new_token()
    url = await code_url(site, owned.owner, owned.route, "/", state)
    assert url is not None
    planted = "; ".join(f"spawner_entry={new_token()}" for _ in range(MAX_TRIED - 1))
    statements: list[str] = []
    event.listen(site.resources.engine.sync_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    stranger = re.sub("code=[^&]+", f"code={new_token()}", url)
    assert (await follow(site, stranger, {"Cookie": planted})).status_code == 400
    assert len(statements) == 1
    assert (await follow(site, url, {"Cookie": f"{planted}; spawner_entry={state}"})).status_code == 303


@pytest.mark.parametrize("end", ["expired", "logout", "session", "block"])
async def test_a_code_dies_with_its_minute_and_its_session(site: Site, end: str) -> None:
    owned = await site.own()
    state = new_token()
    url = await code_url(site, owned.owner, owned.route, "/", state)
    assert url is not None
    if end == "expired":
        async with site.resources.unit_of_work() as session:
            await session.execute(update(Handoff).values(expires_at=utcnow()))
    else:
        await stop(site, owned, end)
    answer = await follow(site, url, entry(state))
    assert answer.status_code == 400
    assert "set-cookie" not in answer.headers


async def stop(site: Site, owned: Owned, end: str) -> None:
    """End a session in one of the ways there are."""
    statement = {
        "logout": update(Session).where(Session.id == owned.owner.session.id).values(ended_at=utcnow()),
        "session": update(Session).where(Session.id == owned.owner.session.id).values(expires_at=utcnow()),
        "block": update(User).where(User.id == owned.owner.user.id).values(blocked_at=utcnow()),
    }[end]
    async with site.resources.unit_of_work() as session:
        await session.execute(statement)


@pytest.mark.parametrize("end", ["logout", "session", "block"])
async def test_the_next_request_after_the_end_is_refused(site: Site, end: str) -> None:
    owned = await site.own()
    assert (await site.ask(owned.route, "/", owned.cookie)).status_code == 200
    await stop(site, owned, end)
    answer = await site.ask(owned.route, "/", owned.cookie)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert len(site.edge.peer.received) == 1


async def test_a_spent_code_is_not_spent_by_looking(site: Site) -> None:
    owned = await site.own()
    state = new_token()
    url = await code_url(site, owned.owner, owned.route, "/", state)
    assert url is not None
    target = urlsplit(url)
    for method in ("HEAD", "POST"):
        headers = {"Host": target.netloc, **entry(state)}
        address = f"http://127.0.0.1:{site.edge.port}{target.path}?{target.query}"
        assert (await site.http.request(method, address, headers=headers)).status_code == 405
    assert (await follow(site, url, entry(state))).status_code == 303


async def test_a_bad_code_is_a_problem_for_a_script(site: Site) -> None:
    owned = await site.own()
    for query in ("", "?code=", f"?code={new_token()}&next=/", "?" + "&".join(["code=x"] * 500)):
        answer = await site.ask(owned.route, f"/.spawner/enter{query}", entry(new_token()))
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_handoff")


@pytest.mark.parametrize(
    "path",
    [
        "//evil.org",
        "/\\evil.org",
        "https://evil.org",
        "/..//evil.org",
        "/%2e%2e/bob-hello/",
        "@evil.org",
        "",
        "\r\nX: y",
    ],
)
async def test_next_never_leads_elsewhere(site: Site, path: str) -> None:
    owned = await site.own()
    state = new_token()
    url = await code_url(site, owned.owner, owned.route, "/", state)
    assert url is not None
    code = parse_qs(urlsplit(url).query)["code"][0]
    forged = f"{url.partition('?')[0]}?{urlencode({'code': code, 'next': path})}"
    answer = await follow(site, forged, entry(state))
    assert answer.status_code == 303
    assert answer.headers["location"] == site.origin(owned.route) + site.path(owned.route)


async def test_codes_are_made_for_owners_only(site: Site) -> None:
    owned = await site.own()
    bob = await sign_in(site.resources, "bob")
    for route in (owned.route, "alice-nothing", "nobody-hello", "alice", "", "alice-hello-x", "bob-hello"):
        assert await code_url(site, bob, route, "/", new_token()) is None
    assert await count(site, Handoff) == 0


async def test_a_strangers_workspace_and_an_unknown_one_are_alike(site: Site) -> None:
    await site.own()
    bob = await site.own("bob")
    for visit, media in ((site.ask, "application/problem+json"), (site.visit, "text/html; charset=utf-8")):
        answers = []
        for route in ("alice-hello", "alice-nothing", "nobody-hello"):
            answer = await visit(route, "/secret", bob.cookie)
            assert (answer.status_code, answer.headers["content-type"]) == (404, media)
            for name in ("x-request-id", "date", "content-length"):
                text = answer.text.replace(answer.headers.pop(name), "").replace(route, "")
            answers.append((re.sub(r'"request_id":"\w+"', "", text), sorted(answer.headers.items())))
        assert all(answer == answers[0] for answer in answers)
    assert site.edge.peer.received == []


async def test_one_workspaces_cookie_does_not_open_the_owners_other_one(site: Site) -> None:
    first = await site.own()
    second = await site.own(first.owner, "jupyter")
    assert (await site.ask(second.route, "/", first.cookie)).status_code == 404
    assert (await site.ask(second.route, "/", second.cookie)).status_code == 200


async def test_the_pages_cookie_and_access_tokens_open_nothing_here(site: Site) -> None:
    owned = await site.own()
    for headers in (
        owned.owner.headers,
        {"Cookie": f"spawner_session={owned.owner.cookie}"},
        {"Cookie": f"spawner_workspace={owned.owner.cookie}"},
        {"Cookie": f"xspawner_workspace={owned.value}"},
    ):
        assert (await site.ask(owned.route, "/", headers)).status_code == 401
    assert site.edge.peer.received == []


async def test_a_script_without_a_session_gets_a_problem(site: Site) -> None:
    for route in ("alice-hello", "nobody-nothing"):
        answer = await site.ask(route, "/api")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["content-type"] == "application/problem+json"
        post = await site.ask(route, "/api", {"Accept": "text/html"}, method="POST")
        assert post.status_code == 401
        image = await site.ask(route, "/api", {"Accept": "text/html", "Sec-Fetch-Mode": "no-cors"})
        assert image.status_code == 401


@pytest.mark.parametrize(
    ("status", "english", "german", "retry"),
    [
        (WorkspaceStatus.STOPPED, "It is stopped", "Er ist beendet", "30"),
        (WorkspaceStatus.STARTING, "It is starting", "Er startet", "3"),
        (WorkspaceStatus.ERROR, "could not be started", "nicht gestartet werden", "30"),
        (WorkspaceStatus.QUEUED, "or for capacity on the server", "auf dem Server Platz", "3"),
        (WorkspaceStatus.STOPPING, "you can start it again", "wieder starten", "3"),
        (WorkspaceStatus.DELETING, "you can launch it again", "von Neuem starten", "3"),
        (WorkspaceStatus.NOT_CREATED, "not been launched", "noch nicht gestartet", "30"),
    ],
)
async def test_a_workspace_that_does_not_run_says_so(
    site: Site, status: WorkspaceStatus, english: str, german: str, retry: str
) -> None:
    owned = await site.own(template="jupyter", status=status)
    problem = await site.ask(owned.route, "/api", owned.cookie)
    assert (problem.status_code, problem.json()["code"]) == (503, "workspace_not_running")
    assert problem.headers["retry-after"] == retry
    for language, text in (("en", english), ("de-AT, en;q=0.5", german)):
        page = await site.visit(owned.route, "/lab", {**owned.cookie, "Accept-Language": language})
        assert page.status_code == 503
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["retry-after"] == retry
        assert page.headers["cache-control"] == "no-store"
        assert text in page.text
        assert f'href="{site.settings.public_url}/open/{owned.route}?next=%2Flab"' in page.text
        assert ('http-equiv="refresh"' in page.text) == (retry == "3")
        assert "unsafe" not in page.headers["content-security-policy"]
        assert not re.search(r"<script| on\w+=|style=", page.text)
    assert site.edge.peer.received == []


async def test_what_is_over_is_swept_away(site: Site) -> None:
    gone, kept = await site.own(), await site.own("bob")
    for owned in (gone, kept):
        await code_url(site, owned.owner, owned.route, "/", new_token())
    async with site.resources.unit_of_work() as session:
        await session.execute(
            update(Handoff)
            .where(Handoff.workspace_id == gone.workspace.id)
            .values(expires_at=utcnow() - timedelta(seconds=1))
        )
    await stop(site, gone, "logout")
    async with site.resources.unit_of_work() as session:
        await purge(session)
        assert (await session.scalars(select(WorkspaceCookie.workspace_id))).all() == [kept.workspace.id]
        assert (await session.scalars(select(Handoff.workspace_id))).all() == [kept.workspace.id]


@APART
async def test_a_share_opens_one_workspace_of_its_owner_and_no_other(site: Site) -> None:
    owned = await site.own()
    other = await site.own(owned.owner, "jupyter")
    bob = await site.visitor(owned, "bob")
    state = new_token()
    url = await code_url(site, bob.owner, owned.route, "/lab", state)
    assert url is not None
    entered = await follow(site, url, entry(state))
    assert entered.status_code == 303
    value = SimpleCookie(entered.headers["set-cookie"])["spawner_workspace"].value
    cookie = {"Cookie": f"spawner_workspace={value}"}
    assert (await site.ask(owned.route, "/", cookie)).status_code == 200
    assert site.edge.peer.received[-1].get("x-spawner-user") == ["bob"]
    answers = []
    for route in (other.route, "nobody-hello"):
        assert await code_url(site, bob.owner, route, "/", new_token()) is None
        answer = await site.ask(route, "/", cookie)
        answers.append((answer.status_code, {**answer.json(), "request_id": ""}))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


@SHARED_ORIGIN
async def test_where_workspaces_share_an_origin_only_their_owner_enters(site: Site) -> None:
    owned = await site.own()
    for slug, reason in (("bob", None), ("root", "The owner asked for help.")):
        guest = await site.visitor(owned, slug, reason=reason)
        assert await code_url(site, guest.owner, owned.route, "/", new_token()) is None
        assert (await site.ask(owned.route, "/", guest.cookie)).status_code == 401
    assert (await site.ask(owned.route, "/", owned.cookie)).status_code == 200


@APART
async def test_a_code_dies_with_its_share(site: Site) -> None:
    owned = await site.own()
    bob = await site.visitor(owned, "bob")
    state = new_token()
    url = await code_url(site, bob.owner, owned.route, "/", state)
    assert url is not None
    async with site.resources.unit_of_work() as session:
        await session.execute(update(Share).values(revoked_at=utcnow()))
    assert (await follow(site, url, entry(state))).status_code == 400
