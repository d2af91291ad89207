"""The account's page: sessions to end, tokens to make and revoke, in both languages."""

import re

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from app.accounts.principal import Client
from app.accounts.sessions import open_session
from app.models import ApiToken, AuditEntry
from app.resources import Resources
from tests.support.browsers import Page, make_browser
from tests.support.factories import SignedIn, make_token, make_user, sign_in
from tests.support.pages import SAME_IN_BOTH, check_policy

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
FORM = {"name": "backup", "scope": ["read", "workspaces"], "days": "30"}


@pytest.fixture
async def other(resources: Resources, alice: SignedIn) -> str:
    """The id of another session of alice's."""
    async with resources.unit_of_work() as session:
        session_id, _ = await open_session(session, resources, alice.user, Client("203.0.113.9", FIREFOX))
    return str(session_id)


async def test_it_says_the_same_in_both_languages(app: FastAPI, resources: Resources) -> None:
    root = await sign_in(resources, await make_user(resources, is_admin=True))
    await make_token(resources, root.user, "read")
    async with resources.unit_of_work() as session:
        await open_session(session, resources, root.user, Client("203.0.113.9", FIREFOX))
    pages = []
    for locale in ("en", "de"):
        async with make_browser(app, root, locale=locale) as browser:
            for answer in (
                await browser.get("/account"),
                await browser.post("/account/tokens", data={**FORM, "scope": []}),
                await browser.post("/account/tokens", data=FORM),
            ):
                pages.append(check_policy(answer))
    technical = {"read", "workspaces", "admin", "test", "backup", "·"}
    for english, german in zip(pages[:3], pages[3:], strict=True):
        same = set(english.words) & set(german.words)
        assert {word for word in same if re.search(r"[^\W\d_]", word)} <= SAME_IN_BOTH | technical


async def test_it_asks_strangers_to_sign_in_and_home_leads_there(
    browser: httpx.AsyncClient, hers: httpx.AsyncClient
) -> None:
    assert (await browser.get("/account")).headers["location"] == "/sign-in?next=%2Faccount"
    assert Page((await hers.get("/")).text).find("a", href="/account")


async def test_sessions_are_listed_and_ended(hers: httpx.AsyncClient, resources: Resources, other: str) -> None:
    page = Page((await hers.get("/account")).text)
    assert {"Firefox on Linux", "This device"} <= set(page.words)
    ends = [form["action"] for form in page.find("form", method="post") if "/sessions/" in str(form["action"])]
    assert ends == [f"/account/sessions/{other}/end", "/account/sessions/end"]
    assert (await hers.post(f"/account/sessions/{other}/end")).headers["location"] == "/account"
    assert "Firefox" not in (await hers.get("/account")).text
    assert (await hers.post(f"/account/sessions/{other}/end")).status_code == 404


async def test_all_others_are_signed_out_at_once(
    app: FastAPI, hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    elsewhere = await sign_in(resources, alice.user)
    assert (await hers.post("/account/sessions/end")).headers["location"] == "/account"
    async with make_browser(app, elsewhere) as browser:
        assert (await browser.get("/account")).headers["location"] == "/sign-in?next=%2Faccount"
    assert (await hers.get("/account")).status_code == 200
    ended = await hers.post(f"/account/sessions/{alice.session.id}/end")
    assert ended.headers["location"] == "/sign-in"


async def test_a_tokens_secret_is_shown_once(
    hers: httpx.AsyncClient, client: httpx.AsyncClient, resources: Resources
) -> None:
    made = await hers.post("/account/tokens", data=FORM)
    assert made.headers["cache-control"] == "no-store"
    secret = re.findall(r"spawner_[\w-]{43}", made.text)
    assert len(secret) == 1
    bearer = {"Authorization": f"Bearer {secret[0]}"}
    assert (await client.get("/api/user/me", headers=bearer)).status_code == 200
    page = await hers.get("/account")
    assert secret[0] not in page.text
    assert "backup" in page.text
    async with resources.sessions() as session:
        row = (await session.scalars(select(ApiToken))).one()
        detail = await session.scalar(select(AuditEntry.detail).where(AuditEntry.action == "token_made"))
    assert row.scopes == ["read", "workspaces"]
    assert secret[0] not in (detail or "")
    assert (await hers.post(f"/account/tokens/{row.id}/revoke")).headers["location"] == "/account"
    assert (await client.get("/api/user/me", headers=bearer)).status_code == 401


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"name": " "}, 400, "Give the token a name"),
        ({"name": "a\u202eb"}, 400, "Give the token a name"),
        ({"name": "<b>x</b>", "scope": []}, 400, "Choose at least one right"),
        ({"scope": ["everything"]}, 400, "Choose at least one right"),
        ({"days": "366"}, 400, "Choose at least one right"),
        ({"days": ""}, 400, "Choose at least one right"),
        ({"scope": ["admin"]}, 403, "admins of this installation"),
    ],
)
async def test_a_token_that_cannot_be_made_says_why(
    hers: httpx.AsyncClient, changes: dict[str, object], status: int, said: str
) -> None:
    answer = await hers.post("/account/tokens", data={**FORM, **changes})
    assert answer.status_code == status
    assert said in answer.text
    assert "<b>" not in answer.text
    assert "There are none." in answer.text


@pytest.mark.parametrize("path", ["sessions/end", "tokens"])
async def test_another_sites_form_is_refused(hers: httpx.AsyncClient, other: str, path: str) -> None:
    answer = await hers.post(f"/account/{path}", data=FORM, headers={"Sec-Fetch-Site": "same-site"})
    assert answer.status_code == 403
    assert "Firefox on Linux" in (await hers.get("/account")).text
