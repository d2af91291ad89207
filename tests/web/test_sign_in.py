"""Asking for a link, confirming, signing out."""

from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from app.models import LinkRequest, MagicLink, utcnow
from app.resources import Resources, make_redis
from app.security.rate_limits import LinkLimits
from app.security.tokens import new_token
from tests.support.browsers import Page, make_browser
from tests.support.factories import SignedIn


async def count_requests(resources: Resources) -> int:
    """How many links were asked for."""
    async with resources.unit_of_work() as session:
        return await session.scalar(select(func.count()).select_from(LinkRequest)) or 0


async def make_link(resources: Resources, who: SignedIn) -> str:
    """The token of a link that is still good."""
    token = new_token()
    link = MagicLink(
        user_id=who.user.id, token_hash=resources.tokens.hash("link", token), expires_at=utcnow() + timedelta(minutes=5)
    )
    async with resources.unit_of_work() as session:
        session.add(link)
    return token


async def is_spent(resources: Resources) -> bool:
    """Whether the one link there is was used."""
    async with resources.unit_of_work() as session:
        return (await session.scalar(select(MagicLink.spent_at))) is not None


async def test_who_is_not_signed_in_is_sent_to_the_form(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


async def test_who_is_signed_in_needs_no_form(hers: httpx.AsyncClient) -> None:
    answer = await hers.get("/sign-in")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_the_form_asks_for_a_link_in_the_visitors_language(app: FastAPI, resources: Resources) -> None:
    async with make_browser(app, locale="de") as browser:
        answer = await browser.post("/sign-in", data={"email": "  Alice@Example.org "})
    assert (answer.status_code, answer.headers["location"]) == (303, "/check-mail")
    async with resources.unit_of_work() as session:
        request = (await session.scalars(select(LinkRequest))).one()
    assert (request.email, request.locale) == ("alice@example.org", "de")


async def test_the_form_lets_the_browser_be_known_again(browser: httpx.AsyncClient) -> None:
    addresses = ("alice@example.org", "bob@example.org")
    first, second = [await browser.post("/sign-in", data={"email": address}) for address in addresses]
    assert first.headers["set-cookie"].startswith("spawner_browser=")
    assert "set-cookie" not in second.headers


@pytest.mark.parametrize("email", ["", "nobody", "a@b@c.org", 'x"><script>alert(1)</script>', "x" * 2000])
async def test_an_unusable_address_comes_back_with_the_reason(
    browser: httpx.AsyncClient, resources: Resources, email: str
) -> None:
    answer = await browser.post("/sign-in", data={"email": email})
    assert answer.status_code == 400
    (field,) = Page(answer.text).find("input", id="email")
    assert (field["value"], field["aria-invalid"], field["aria-describedby"]) == (email, "true", "email-error")
    assert all((script["src"] or "").startswith("/static/") for script in Page(answer.text).find("script"))
    assert await count_requests(resources) == 0


@pytest.mark.parametrize(("locale", "words"), [("en", "its link is valid again"), ("de", "Ihr Link gilt wieder")])
async def test_beyond_the_limit_the_page_tells_to_use_the_newest_mail(app: FastAPI, locale: str, words: str) -> None:
    async with make_browser(app, locale=locale) as browser:
        for _ in range(3):
            answer = await browser.post("/sign-in", data={"email": "alice@example.org"})
            assert (answer.status_code, answer.headers["location"]) == (303, "/check-mail")
            assert words not in (await browser.get("/check-mail")).text
        answer = await browser.post("/sign-in", data={"email": "alice@example.org"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/check-mail?newest=true")
        page = (await browser.get("/check-mail?newest=true")).text
    assert words in page
    # A code is good in the browser that asked for its mail.
    assert "code-form" not in page


@pytest.mark.parametrize(("locale", "words"), [("en", "from this place"), ("de", "Von diesem Ort")])
async def test_a_crowded_place_is_told_that_nothing_was_mailed_rather_than_to_look_for_mail(
    app: FastAPI, resources: Resources, locale: str, words: str
) -> None:
    crowded = resources.settings.model_copy(update={"magic_links_per_hour_client": 1, "environment": "production"})
    app.state.resources = replace(resources, limits=LinkLimits(crowded, resources.tokens, resources.redis))
    async with make_browser(app, locale=locale) as browser:
        assert (await browser.post("/sign-in", data={"email": "alice@example.org"})).status_code == 303
        answer = await browser.post("/sign-in", data={"email": "bob@example.org"})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 3000
    assert words in answer.text
    assert "60 min" in answer.text.lower()
    assert "mailbox" not in answer.text
    assert await count_requests(resources) == 1


async def test_the_form_and_the_api_count_together(browser: httpx.AsyncClient) -> None:
    for _ in range(3):
        await browser.post("/api/auth/signup", json={"email": "alice@example.org"})
    answer = await browser.post("/sign-in", data={"email": "alice@example.org"})
    assert answer.headers["location"] == "/check-mail?newest=true"


async def test_without_redis_the_form_says_to_try_again(app: FastAPI, resources: Resources) -> None:
    away = make_redis("redis://127.0.0.1:1")
    limits = LinkLimits(resources.settings, resources.tokens, away)
    app.state.resources = replace(resources, redis=away, limits=limits)
    async with make_browser(app) as browser:
        answer = await browser.post("/sign-in", data={"email": "alice@example.org"})
    await away.aclose()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "Please try again in a few seconds." in answer.text
    assert Page(answer.text).find("input", id="email", value="alice@example.org")


async def test_the_mailbox_page_tells_how_long_a_link_lives(browser: httpx.AsyncClient) -> None:
    assert "within 10 minutes" in (await browser.get("/check-mail")).text


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_looking_at_the_confirm_page_spends_nothing(
    browser: httpx.AsyncClient, resources: Resources, alice: SignedIn, method: str
) -> None:
    token = await make_link(resources, alice)
    answer = await browser.request(method, f"/auth/confirm?token={token}")
    assert answer.status_code == 200
    assert token not in answer.text
    assert not await is_spent(resources)


async def test_the_confirm_page_has_one_button_and_nothing_that_submits_by_itself(browser: httpx.AsyncClient) -> None:
    page = Page((await browser.get("/auth/confirm")).text)
    assert len(page.find("button", type="button")) == len(page.find("button")) == 1
    assert not page.find("form")
    assert not page.find("meta", http_equiv="refresh")
    assert page.find("noscript")


async def test_signing_out_ends_the_session(hers: httpx.AsyncClient, alice: SignedIn) -> None:
    answer = await hers.post("/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert "spawner_session" not in hers.cookies
    again = await hers.get("/", headers={"Cookie": f"spawner_session={alice.cookie}"})
    assert again.headers["location"] == "/sign-in"


async def test_signing_out_twice_is_no_error(browser: httpx.AsyncClient) -> None:
    assert (await browser.post("/sign-out")).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "", "Origin": "http://alice-hello.localhost:8080"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize(
    "path",
    ["/sign-in", "/sign-out", "/home/workspaces/hello/launch", "/home/workspaces/hello/restart", "/open/alice-hello"],
)
@pytest.mark.parametrize("signed_in", [True, False])
async def test_a_form_on_another_site_is_refused(
    browser: httpx.AsyncClient,
    hers: httpx.AsyncClient,
    resources: Resources,
    headers: dict[str, str],
    path: str,
    signed_in: bool,
) -> None:
    visitor = hers if signed_in else browser
    answer = await visitor.post(path, data={"email": "alice@example.org"}, headers=headers)
    assert answer.status_code == 403
    assert await count_requests(resources) == 0
    assert (await hers.get("/")).status_code == 200
