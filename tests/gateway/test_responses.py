"""How the proxy's words become a visit, and a decision an answer; and what the gateway's pages say."""

import re
from typing import Any

import pytest
from starlette.datastructures import Headers

from app.core.addresses import Route
from app.core.errors import AppError, NotFound
from app.core.i18n import Locale
from app.core.settings.model import Settings
from app.gateway import error_pages
from app.gateway.decide import MOVING, Allow, ErrorPage, Redirect
from app.gateway.errors import (
    InvalidHandoff,
    NotEntered,
    OpenInTab,
    SentFromElsewhere,
    SharedNotRunning,
    WorkspaceNotRunning,
    WorkspaceUnreachable,
)
from app.gateway.proxied_request import ProxiedRequest, read_request
from app.gateway.responses import admission, refusal
from app.http.cookies import Cookie
from app.models import WorkspaceStatus
from app.workspaces.errors import QuotaUserRunning

S = WorkspaceStatus
ROUTE = Route("alice", "hello", "/alice-hello", "/lab")


def visit(*headers: tuple[str, str], unreachable: str = "") -> ProxiedRequest:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return read_request(Headers(raw=raw), unreachable=unreachable, repeatable=False)


GET = ("X-Forwarded-Method", "GET")
HTML = ("Accept", "text/html,*/*")


@pytest.mark.parametrize("purpose", [("Sec-Purpose", "prefetch;prerender"), ("Purpose", "prefetch")])
def test_a_page_that_is_fetched_ahead_of_time_is_no_visit(purpose: tuple[str, str]) -> None:
    asked = (GET, HTML, ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))
    assert visit(*asked).navigates
    assert not visit(*asked, purpose).navigates


def test_a_request_without_a_word_is_nothing_at_all() -> None:
    assert visit() == ProxiedRequest(method="", host="", uri="")


def test_what_the_proxy_says_is_taken_as_it_is() -> None:
    given = (
        ("X-Forwarded-Method", "POST"),
        ("X-Forwarded-Host", "alice-hello.apps.example.org"),
        ("X-Forwarded-Uri", "/lab?a=%2F"),
        ("Cookie", "a=1"),
        ("Cookie", "b=2"),
        ("Authorization", "Bearer x"),
        ("Sec-WebSocket-Protocol", "terminal"),
        ("Origin", "https://one"),
        ("Referer", "https://two/"),
        ("Sec-Fetch-Site", "same-origin"),
        HTML,
    )
    found = visit(*given, unreachable="yes")
    expected = ProxiedRequest(
        method="POST",
        host="alice-hello.apps.example.org",
        uri="/lab?a=%2F",
        cookies=("a=1", "b=2"),
        authorization=("Bearer x",),
        protocols=("terminal",),
        names=frozenset(name.lower() for name, _ in given),
        origin="https://one",
        referrer="https://two/",
        site="same-origin",
        browser=True,
        page=True,
        unreachable="yes",
        size=found.size,
    )
    assert found == expected


@pytest.mark.parametrize("name", ["Origin", "Sec-Fetch-Site", "Sec-Fetch-Dest"])
def test_a_browser_is_known_by_what_programs_do_not_send(name: str) -> None:
    assert visit(GET, (name, "x")).browser
    assert not visit(GET, ("Sec-Fetch-Mode", "cors"), HTML).browser


def test_several_values_are_none_of_them() -> None:
    found = visit(("Origin", "a"), ("Origin", "b"), ("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "none"))
    assert (found.origin, found.site) == ("a, b", "none, none")


@pytest.mark.parametrize(
    ("headers", "upgrade"),
    [
        ([GET], False),
        ([GET, ("X-Forwarded-Upgrade", "")], False),
        ([GET, ("X-Forwarded-Upgrade", "websocket")], True),
        ([("X-Forwarded-Method", "CONNECT")], True),
    ],
)
def test_a_websocket_is_known_by_its_upgrade_or_method(headers: list[tuple[str, str]], upgrade: bool) -> None:
    found = visit(*headers, HTML)
    assert (found.upgrade, found.navigates) == (upgrade, not upgrade)


@pytest.mark.parametrize(
    ("mode", "dest", "accept", "navigates", "part"),
    [
        (None, None, "text/html", True, False),
        (None, None, "application/json", False, False),
        (None, None, "application/json, text/html;q=0", False, False),
        (None, None, None, False, False),
        (None, "image", "text/html", True, False),
        ("navigate", None, "application/json", True, False),
        ("navigate", "document", "text/html", True, False),
        ("navigate", "iframe", "text/html", True, True),
        ("cors", "empty", "text/html", False, True),
        ("cors", "document", "text/html", False, True),
        ("no-cors", None, "text/html", False, True),
    ],
)
def test_a_person_and_a_part_of_a_page_are_told_apart(
    mode: str | None, dest: str | None, accept: str | None, navigates: bool, part: bool
) -> None:
    given = {"Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest, "Accept": accept}
    found = visit(GET, *((name, value) for name, value in given.items() if value is not None))
    assert (found.navigates, found.part) == (navigates, part)
    assert not visit(("X-Forwarded-Method", "HEAD"), HTML).navigates


@pytest.mark.parametrize(
    ("ticket", "upstream", "host", "port"),
    [
        ("", "10.0.0.7:80", "10.0.0.7", "80"),
        ("", "[fd00::7]:80", "fd00::7", "80"),
        # The relay is dialled by its whole address.
        ("t", "127.0.0.1:9", "", ""),
        ("t", "unix//run/gateway.relay", "", ""),
    ],
)
def test_a_pass_is_a_header_for_each_field(
    settings: Settings, ticket: str, upstream: str, host: str, port: str
) -> None:
    added = (("X-A", "1"), ("X-B", ""))
    passed = Allow(upstream, "/alice-hello", "/alice-hello/", "bob", "a=1", "b", added, True, ticket, "few")
    answer = admission(settings, passed)
    given = {name: value for name, value in answer.headers.items() if name.startswith("x-")}
    assert answer.status_code == 200
    assert given == {
        "x-upstream": upstream,
        "x-upstream-host": host,
        "x-upstream-port": port,
        "x-strip-prefix": "/alice-hello",
        "x-base-path": "/alice-hello/",
        "x-spawner-user": "bob",
        "x-spawner-cookie": "a=1",
        "x-spawner-authorization": "b",
        "x-spawner-clean-query": "yes",
        "x-spawner-ticket": ticket,
        "x-spawner-tier": "few",
        "x-spawner-frames": "",
        **{f"x-spawner-name-{n}": name for n, name in enumerate(("X-A", "X-B", *["X-Spawner-Unused"] * 2), start=1)},
        **{f"x-spawner-value-{n}": value for n, value in enumerate(("1", "", "", ""), start=1)},
        **{f"x-spawner-without-{n}": name for n, name in enumerate(("", "X-B", *["X-Spawner-Unused"] * 2), start=1)},
    }


def test_a_redirect_brings_its_cookie_if_it_has_one(settings: Settings) -> None:
    plain = refusal(settings, Redirect("http://there/", 307), "en")
    assert (plain.status_code, plain.headers["location"], plain.headers.get("set-cookie")) == (
        307,
        "http://there/",
        None,
    )
    baked = refusal(settings, Redirect("http://there/", 303, Cookie("n", "v", "/p", True, 5)), "en")
    assert baked.headers["set-cookie"] == "n=v; HttpOnly; Max-Age=5; Path=/p; SameSite=lax; Secure"


def shown(settings: Settings, error: AppError, status: WorkspaceStatus | None, locale: Locale) -> dict[str, Any]:
    """What stands on the page."""
    answer = refusal(settings, ErrorPage(error, ROUTE, status), locale)
    page = bytes(answer.body).decode()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == error_pages.POLICY + "'none'"
    assert answer.headers.get("retry-after") == error.headers.get("Retry-After")
    assert answer.status_code == error.status
    assert f"<style>{(error_pages._FOLDER / 'page.css').read_text()}</style>" in page
    refresh = re.search(r'http-equiv="refresh" content="(.*?)"', page)
    paragraphs = re.findall(r"<p>([^<]*)</p>", page)
    link = re.search(r'<a href="(.*?)">(.*?)</a>', page)
    title = re.search(r"<h1>(.*?)</h1>", page)
    assert link is not None
    assert title is not None
    assert f"<title>{title[1]} · alice-hello</title>" in page
    assert '<p class="name">alice-hello</p>' in page
    return {
        "lang": page.partition('lang="')[2].partition('"')[0],
        "refresh": refresh[1] if refresh else None,
        "title": title[1],
        "text": paragraphs[0],
        "link": link[1],
        "action": link[2],
    }


def not_running(seconds: str) -> WorkspaceNotRunning:
    return WorkspaceNotRunning(headers={"Retry-After": seconds})


OPEN = "http://localhost:8080/open/alice-hello"


@pytest.mark.parametrize("status", sorted(S))
@pytest.mark.parametrize("locale", ["en", "de"])
def test_a_page_says_what_the_workspace_is_doing(settings: Settings, status: WorkspaceStatus, locale: Locale) -> None:
    up = status in (S.QUEUED, S.PULLING, S.CREATING, S.STARTING, S.PROBING)
    titles = {
        "en": ("Workspace is starting", "Workspace not running"),
        "de": ("Arbeitsplatz startet", "Arbeitsplatz läuft nicht"),
    }
    actions = {"en": ("Show progress", "Wake it", "Start it"), "de": ("Fortschritt anzeigen", "Aufwecken", "Starten")}
    assert shown(settings, not_running("3"), status, locale) == {
        "lang": locale,
        "refresh": "3" if status in MOVING else None,
        "title": titles[locale][0 if up else 1],
        "text": error_pages.STATES[status].format(locale),
        "link": f"{OPEN}?next=%2Flab",
        "action": actions[locale][0 if status in MOVING else 1 if status is S.PAUSED else 2],
    }


def test_one_without_a_state_has_not_been_launched(settings: Settings) -> None:
    found = shown(settings, not_running("30"), None, "en")
    assert (found["text"], found["action"]) == ("It has not been launched yet.", "Start it")


@pytest.mark.parametrize(
    ("error", "status", "link", "action"),
    [
        (InvalidHandoff(), None, OPEN, "Open it again"),
        (SharedNotRunning(headers={"Retry-After": "30"}), S.STOPPED, "http://localhost:8080/", "Go to my home page"),
        (WorkspaceUnreachable(headers={"Retry-After": "5"}), S.RUNNING, "http://localhost:8080/", "Go to my home page"),
        (QuotaUserRunning(limit=3), None, "http://localhost:8080/", "Go to my home page"),
        (NotFound(), None, "http://localhost:8080/", "Go to my home page"),
        (SentFromElsewhere(), None, OPEN, "Open it again"),
        (NotEntered(), None, OPEN, "Open it again"),
    ],
    ids=["code", "shared", "unreachable", "refused", "unknown", "posted", "not entered"],
)
def test_a_page_says_what_is_the_matter_and_where_to_go_on(
    settings: Settings, error: AppError, status: WorkspaceStatus | None, link: str, action: str
) -> None:
    found = shown(settings, error, status, "en")
    assert found == {
        "lang": "en",
        "refresh": None,
        "title": error.title.format("en"),
        "text": error.detail.format("en", **error.values),
        "link": link,
        "action": action,
    }


@pytest.mark.parametrize("listed", [[], ["https://moodle.example.org", "https://b.example.org"]])
def test_a_page_may_be_framed_by_who_may_frame_workspaces(settings: Settings, listed: list[str]) -> None:
    settings = settings.model_copy(update={"frame_ancestors": listed})
    ancestors = "'self' https://moodle.example.org https://b.example.org" if listed else "'none'"
    refused = ErrorPage(not_running("30"), ROUTE, S.STOPPED, framed=True)
    answer = refusal(settings, refused, "en")
    assert answer.headers["content-security-policy"].endswith(f"; frame-ancestors {ancestors}")
    assert f'<a href="{OPEN}?next=%2Flab" target="_blank" rel="noopener">Start it</a>' in bytes(answer.body).decode()


@pytest.mark.parametrize("listed", [[], ["https://moodle.example.org"]])
def test_what_leads_out_of_a_frame_may_be_framed_by_anybody(settings: Settings, listed: list[str]) -> None:
    settings = settings.model_copy(update={"frame_ancestors": listed})
    answer = refusal(settings, ErrorPage(OpenInTab(), ROUTE, framed=True), "de")
    page = bytes(answer.body).decode()
    assert answer.headers["content-security-policy"].endswith("; frame-ancestors *")
    link = '<a href="http://alice-hello.localhost:8080/lab" target="_blank" rel="noopener">In einem Tab öffnen</a>'
    assert link in page
    assert ("hier anzeigen" in page) == ("<script>" in page) == bool(listed)
