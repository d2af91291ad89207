"""The pages of sharing: one workspace's shares, what is shared with somebody, and accepting a link."""

import re

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from app.models import Share, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from tests.support.browsers import Page, make_browser, make_workspace
from tests.support.factories import SignedIn, make_user, sign_in

SHARES = "/home/workspaces/hello/shares"


@pytest.fixture
async def shared(hers: httpx.AsyncClient, resources: Resources, alice: SignedIn) -> httpx.AsyncClient:
    """Alice's browser; her workspace runs and is shared with bob."""
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    assert (await hers.post(SHARES, data={"email": "Bob@example.org"})).headers["location"] == SHARES
    return hers


async def test_an_owner_shares_sees_and_revokes(shared: httpx.AsyncClient, resources: Resources) -> None:
    assert "Shared with one person" in (await shared.get("/")).text
    page = Page((await shared.get(SHARES)).text)
    assert "bob@example.org" in page.words
    (form,) = [form for form in page.find("form") if str(form["action"]).endswith("/revoke")]
    assert (await shared.post(str(form["action"]))).headers["location"] == SHARES
    assert "Nobody but you." in (await shared.get(SHARES)).text
    assert "Shared with" not in (await shared.get("/")).text


@pytest.mark.parametrize(("locale", "said"), [("en", "not a usable e-mail"), ("de", "keine brauchbare E-Mail")])
async def test_a_wrong_address_is_told_beside_its_field(
    app: FastAPI, alice: SignedIn, shared: httpx.AsyncClient, locale: str, said: str
) -> None:
    async with make_browser(app, alice, locale=locale) as browser:
        answer = await browser.post(SHARES, data={"email": "a,b@example.org"})
    assert answer.status_code == 400
    assert said in answer.text
    assert Page(answer.text).find("input", aria_invalid="true", value="a,b@example.org")


async def test_a_link_is_shown_once_and_revoked(shared: httpx.AsyncClient, app: FastAPI, resources: Resources) -> None:
    made = await shared.post("/home/workspaces/hello/share-links", data={"hours": "168"})
    (url,) = re.findall(r"http://localhost:8080/share#token=[A-Za-z0-9_-]{43}", made.text)
    page = await shared.get(SHARES)
    assert url not in page.text
    carol = await sign_in(resources, "carol")
    token = {"token": url.partition("=")[2]}
    async with make_browser(app, carol) as browser:
        assert (await browser.post("/api/shares/accept", json=token)).status_code == 200
        home = (await browser.get("/")).text
        assert "from alice@example.org" in home
    assert "let one person in" in (await shared.get(SHARES)).text
    (form,) = [form for form in Page(page.text).find("form") if re.search("links/.*/revoke", str(form["action"]))]
    await shared.post(str(form["action"]))
    async with make_browser(app, carol) as browser:
        assert "Shared with you" not in (await browser.get("/")).text


async def test_what_is_shared_opens_while_it_runs_and_can_be_left(
    shared: httpx.AsyncClient, app: FastAPI, resources: Resources
) -> None:
    async with make_browser(app, await sign_in(resources, "bob")) as browser:
        page = Page((await browser.get("/")).text)
        assert page.find("a", href="http://alice-hello.localhost:8080/")
        on = await browser.get("/open/alice-hello")
        assert (on.status_code, on.headers["location"]) == (303, "http://alice-hello.localhost:8080/")
        assert (await browser.get("/open/alice-jupyter")).status_code == 404
        assert (await browser.post("/open/alice-hello")).status_code == 404
        async with resources.unit_of_work() as session:
            (workspace,) = await session.scalars(select(Workspace))
            workspace.status = WorkspaceStatus.STOPPED
        waits = await browser.get("/open/alice-hello")
        assert (waits.status_code, "Only its owner can start it" in waits.text) == (200, True)
        page = Page((await browser.get("/")).text)
        assert not page.find("a", href="http://alice-hello.localhost:8080/")
        (form,) = [form for form in page.find("form") if str(form["action"]).endswith("/leave")]
        await browser.post(str(form["action"]))
        assert "Shared with you" not in (await browser.get("/")).text
        assert (await browser.get("/open/alice-hello")).status_code == 404


async def test_the_owner_reads_which_admin_may_enter_and_why(
    hers: httpx.AsyncClient, app: FastAPI, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    root = await sign_in(resources, await make_user(resources, "root", is_admin=True))
    async with resources.reads() as session:
        (workspace,) = await session.scalars(select(Workspace))
    async with make_browser(app, root) as browser:
        path = f"/api/admin/workspaces/{workspace.id}/access"
        assert (await browser.post(path, json={"reason": "Ticket 4711: <b>help</b>"})).status_code == 201
    for page in ("/", SHARES):
        text = (await hers.get(page)).text
        assert "Admin root@example.org may enter until" in text
        assert "Reason: Ticket 4711: &lt;b&gt;help" in text
    async with resources.unit_of_work() as session:
        (share,) = await session.scalars(select(Share))
        share.expires_at = utcnow()
    for page in ("/", SHARES):
        assert "Admin root@example.org could enter until" in (await hers.get(page)).text


async def test_a_reason_turns_no_direction_and_a_look_alike_address_is_marked(
    hers: httpx.AsyncClient, client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    root = await sign_in(resources, await make_user(resources, "root", is_admin=True))
    async with resources.unit_of_work() as session:
        workspace = (await session.scalars(select(Workspace))).one()
        session.add(Share(workspace_id=workspace.id, email="p\u0430ypal@example.org"))
    path, reason = f"/api/admin/workspaces/{workspace.id}/access", "Ticket \u202e4711\u0007 of today"
    assert (await client.post(path, headers=root.headers, json={"reason": reason})).status_code == 201
    text = (await hers.get(SHARES)).text
    assert "\u202e" not in text
    assert "\u0007" not in text
    assert r"Reason: Ticket \u202e4711\x07 of today" in text
    assert "p\u0430ypal@example.org (letters of several alphabets: check who this is)" in text
    german = (await hers.get(SHARES, headers={"Accept-Language": "de"})).text
    assert "p\u0430ypal@example.org (Buchstaben mehrerer Schriften: prüfe, wer das ist)" in german
    shares = (await client.get("/api/container/hello/shares", headers=alice.headers)).json()["shares"]
    assert [(share["misleading"], share["reason"]) for share in shares] == [
        (False, r"Ticket \u202e4711\x07 of today"),
        (True, None),
    ]


async def test_who_is_not_signed_in_comes_back_to_the_link(browser: httpx.AsyncClient, hers: httpx.AsyncClient) -> None:
    page = await browser.get("/share")
    assert "Sign in first" in page.text
    (form,) = Page(page.text).find("a", role="button")
    assert form["href"] == "/sign-in?next=%2Fshare"
    signed_in = await hers.get("/share")
    assert "its owner sees your address alice@example.org" in signed_in.text
    assert Page(signed_in.text).find("button", id="accept")


@pytest.mark.parametrize(("locale", "said"), [("en", "share one address"), ("de", "haben dieselbe Adresse")])
async def test_where_workspaces_share_an_origin_the_page_offers_nothing_and_says_why(
    app: FastAPI, resources: Resources, alice: SignedIn, shared: httpx.AsyncClient, locale: str, said: str
) -> None:
    resources.settings.workspace_url = "http://127.0.0.1:8080/{route}"
    async with make_browser(app, alice, locale=locale) as browser:
        page = Page((await browser.get(SHARES)).text)
        assert said in page.html
        assert "bob@example.org" in page.words
        # What was shared before can be revoked; nothing else is offered.
        assert all(str(form["action"]).endswith(("/revoke", "/sign-out")) for form in page.find("form"))
        refused = await browser.post(SHARES, data={"email": "carol@example.org"})
        assert (refused.status_code, said in refused.text) == (409, True)
        assert (await browser.post("/home/workspaces/hello/share-links", data={"hours": 1})).status_code == 409
        accepts = Page((await browser.get("/share")).text)
        assert said in accepts.html
        assert not accepts.find("button", id="accept")


@pytest.mark.parametrize("path", [SHARES, f"{SHARES}/7b0c3c0e-6a44-4c7e-9f0e-1f6f6d3f0a11/revoke"])
async def test_another_sites_form_shares_nothing(hers: httpx.AsyncClient, path: str) -> None:
    answer = await hers.post(path, data={"email": "eve@example.org"}, headers={"Sec-Fetch-Site": "same-site"})
    assert answer.status_code == 403
