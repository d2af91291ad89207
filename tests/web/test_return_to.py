"""Whoever has to sign in first arrives where they were going, in whatever browser the link is opened."""

from collections.abc import AsyncIterator
from urllib.parse import quote, urlencode

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from app.auth.return_to import MAX_LENGTH, read_local
from app.core.addresses import workspace_url
from app.models import LinkRequest, WorkspaceStatus
from app.resources import Resources
from app.security.tokens import new_token
from tests.conftest import TestWorker
from tests.support.browsers import Page, make_browser, make_workspace
from tests.support.emails import Inbox
from tests.support.factories import SignedIn, make_user

ALICE = "alice@example.org"
HTMX = {"HX-Request": "true"}
ELSEWHERE = [
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "/sign-out",
    "/api/user/me",
    "/open/../sign-out",
    "/open/alice-hello/../../x",
    "/open/alice-hello\r\nSet-Cookie: x=1",
    'javascript:alert(1)//"',
    "/open/alice",
    "/open//evil.example",
    "/account/../sign-out",
    "/account#x",
    "/home/workspaces/hello/log/../../..",
    "",
]
# Whatever stands in `next` of a way into a workspace stays below that workspace.
OUTSIDE = ["javascript:alert(1)", "//evil.example", "/\\evil.example", "/../bob-hello/", "https://evil.example"]


@pytest.fixture
async def elsewhere(app: FastAPI, resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
    """Another device."""
    async with make_browser(app) as opened:
        yield opened


def field(answer: httpx.Response, name: str) -> str:
    (found,) = Page(answer.text).find("input", name=name)
    return found["value"] or ""


async def sign_in_from(
    browser: httpx.AsyncClient, worker: TestWorker, path: str, *, fragment: str = "", address: str = ALICE
) -> httpx.Response:
    """Follow a link of somebody who is not signed in, through the form, to the page that waits."""
    sent = await browser.get(path)
    assert sent.status_code == 303
    form = await browser.get(sent.headers["location"])
    data = {"email": address, "next": field(form, "next"), "fragment": fragment}
    answer = await browser.post("/sign-in", data=data)
    assert answer.status_code == 303
    await worker.drain()
    return await browser.get(answer.headers["location"])


async def leads(browser: httpx.AsyncClient, token: str) -> dict[str, object] | None:
    answer = await browser.post("/api/auth/link", json={"token": token})
    assert answer.status_code == 200
    found: dict[str, object] | None = answer.json()["next"]
    return found


def waits_for(answer: httpx.Response) -> str | None:
    (waiting,) = Page(answer.text).find("div", id="waiting")
    return waiting["data-next"]


async def test_a_link_that_is_opened_elsewhere_leads_to_the_place_and_says_so_first(
    browser: httpx.AsyncClient,
    elsewhere: httpx.AsyncClient,
    resources: Resources,
    worker: TestWorker,
    inbox: Inbox,
) -> None:
    alice = await make_user(resources)
    await make_workspace(resources, alice, WorkspaceStatus.RUNNING)
    path = f"/open/alice-hello?next=%2Flab%3Fa%3D1&state={new_token()}"
    waiting = await sign_in_from(browser, worker, path, fragment="#cell-3")
    there = "/open/alice-hello?next=%2Flab%3Fa%3D1#cell-3"
    assert waits_for(waiting) == there
    token = inbox.token(ALICE)
    said = {"url": there, "text": "Then it goes on to /lab?a=1 in your workspace Hello.", "foreign": False}
    assert await leads(browser, token) == await leads(elsewhere, token) == said
    assert (await elsewhere.post("/api/auth/verify", json={"token": token})).status_code == 200
    entered = await elsewhere.get(there.partition("#")[0])
    assert entered.headers["location"] == workspace_url(resources.settings, "alice", "hello") + "lab?a=1"
    async with resources.sessions() as session:
        assert await session.scalar(select(LinkRequest.destination)) is None


@pytest.mark.parametrize("character", ["x", "%", "&"])
async def test_a_query_of_eight_kilobytes_is_kept_whole(
    browser: httpx.AsyncClient, worker: TestWorker, inbox: Inbox, resources: Resources, character: str
) -> None:
    await make_user(resources)
    place = "/lab?" + character * (MAX_LENGTH - 13)
    path = "/open/alice-hello?" + urlencode({"next": place})
    waiting = await sign_in_from(browser, worker, path, fragment="#cell-39")
    assert waits_for(waiting) == f"{path}#cell-39"
    assert "too long" not in waiting.text
    found = await leads(browser, inbox.token(ALICE))
    assert found is not None
    assert found["url"] == f"{path}#cell-39"
    assert len(str(found["text"])) < 150


async def test_what_is_too_long_to_be_kept_is_said(
    browser: httpx.AsyncClient, worker: TestWorker, inbox: Inbox
) -> None:
    whole = "/" + "x" * (MAX_LENGTH - 1)
    sent = await browser.get("/open/alice-hello", params={"next": f"{whole}x"})
    form = await browser.get(sent.headers["location"])
    assert (field(form, "next"), "too long to be kept" in form.text) == ("/open/alice-hello", True)
    fits = await browser.get((await browser.get("/open/alice-hello", params={"next": whole})).headers["location"])
    assert "too long to be kept" not in fits.text
    asked = await sign_in_from(browser, worker, f"/open/alice-hello?next={quote(whole, safe='')}", fragment="#cell-3")
    assert waits_for(asked) == f"/open/alice-hello?next={quote(whole, safe='')}"
    assert "too long to be kept" in asked.text


@pytest.mark.parametrize("target", ELSEWHERE)
async def test_nothing_but_a_page_of_ours_is_kept_or_used(
    browser: httpx.AsyncClient, hers: httpx.AsyncClient, resources: Resources, worker: TestWorker, target: str
) -> None:
    form = await browser.get("/sign-in", params={"next": target})
    assert field(form, "next") in ("/", "/account")
    assert (await hers.get("/sign-in", params={"next": target})).headers["location"] in ("/", "/account")
    await browser.post("/sign-in", data={"email": "bob@example.org", "next": target, "fragment": "#//evil.example"})
    # A row that somebody else has written leads nowhere else either.
    async with resources.unit_of_work() as session:
        assert await session.scalar(select(LinkRequest.destination)) in (None, "/account")
        await session.execute(update(LinkRequest).values(destination=target))
    assert waits_for(await browser.get("/check-mail")) in ("/", "/account")


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_way_into_a_workspace_leads_nowhere_else(path: str) -> None:
    kept = read_local("/open/alice-hello?" + urlencode({"next": path, "state": new_token(), "x": "y"}))
    assert kept.local == "/open/alice-hello"


async def test_a_foreign_workspace_is_named_before_the_button(
    browser: httpx.AsyncClient,
    elsewhere: httpx.AsyncClient,
    resources: Resources,
    worker: TestWorker,
    inbox: Inbox,
) -> None:
    await make_user(resources)
    mallory = await make_user(resources, "mallory")
    await make_workspace(resources, mallory, WorkspaceStatus.RUNNING)
    await sign_in_from(browser, worker, "/open/mallory-hello?next=%2Flab")
    found = await leads(elsewhere, inbox.token(ALICE))
    assert found is not None
    assert found["foreign"] is True
    assert "mallory-hello, somebody else's workspace" in str(found["text"])
    form = await elsewhere.get("/sign-in", params={"next": "/open/mallory-hello"})
    assert "mallory-hello" in " ".join(Page(form.text).words)


@pytest.mark.parametrize(
    ("method", "path", "headers", "back"),
    [
        ("GET", "/account", {}, "/account"),
        ("GET", "/home/workspaces/hello/log", {}, "/home/workspaces/hello/log"),
        ("GET", "/home/workspaces/hello/shares", {}, "/home/workspaces/hello/shares"),
        ("GET", "/", {}, ""),
        ("POST", "/home/workspaces/hello/launch", {}, ""),
        ("POST", "/home/workspaces/hello/shares", {}, ""),
    ],
)
async def test_a_page_that_asks_to_sign_in_is_come_back_to(
    browser: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], back: str
) -> None:
    answer = await browser.request(method, path, headers=headers)
    wanted = f"/sign-in?{urlencode({'next': back})}" if back else "/sign-in"
    assert (answer.status_code, answer.headers["location"]) == (303, wanted)


@pytest.mark.parametrize(
    ("shown", "back"),
    [
        ("/open/alice-hello?next=%2Flab&state=x", "/open/alice-hello?next=%2Flab"),
        ("/home/workspaces/hello/log", "/home/workspaces/hello/log"),
        ("/", ""),
        (None, ""),
    ],
)
async def test_a_page_whose_element_asks_to_sign_in_is_come_back_to(
    browser: httpx.AsyncClient, shown: str | None, back: str
) -> None:
    current = {"HX-Current-URL": f"http://localhost:8080{shown}"} if shown else {}
    answer = await browser.get("/home/workspaces/hello", headers={**HTMX, **current})
    wanted = f"/sign-in?{urlencode({'next': back})}" if back else "/sign-in"
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, wanted)


async def test_who_is_signed_in_already_goes_on(hers: httpx.AsyncClient, alice: SignedIn) -> None:
    answer = await hers.get("/sign-in", params={"next": "/open/alice-hello?next=%2Flab"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/open/alice-hello?next=%2Flab")


async def test_a_form_that_comes_back_keeps_the_place(browser: httpx.AsyncClient) -> None:
    data = {"email": "nobody", "next": "/open/alice-hello?next=%2Flab", "fragment": "#cell-3"}
    answer = await browser.post("/sign-in", data=data)
    assert answer.status_code == 400
    assert (field(answer, "next"), field(answer, "fragment")) == ("/open/alice-hello?next=%2Flab#cell-3", "#cell-3")


async def test_no_secret_of_a_share_link_is_kept(browser: httpx.AsyncClient, resources: Resources) -> None:
    data = {"email": ALICE, "next": "/share", "fragment": f"#token={new_token()}"}
    assert (await browser.post("/sign-in", data=data)).status_code == 303
    async with resources.sessions() as session:
        assert await session.scalar(select(LinkRequest.destination)) == "/share"
