"""Headless Chromium visits an evil workspace, which does what it can. Names and cookies are those of production: TLS,
and workspaces below the same site as the pages, so that only origins keep them apart.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, async_playwright
from sqlalchemy import func, select

from app.core.settings.model import Settings
from app.models import Job, MagicLink, Session
from deploy.stack.up import find_browser
from tests.support.chromium import ARGUMENTS
from tests.support.factories import make_link, make_user
from tests.support.production_edge import APPS, HOME, certificate, edge, page, tls
from tests.support.proxy import Edge, Owned, Site
from tests.support.upstream import Arrival, Upstream, upstream

__all__ = ["edge"]
ATTACKS = Path(__file__).with_name("evil.js").read_text()
WAIT_MS = 400
# Besides these, an attack may end in any error; it may not end in what was to be kept from it.
HARMLESS = {"nothing", "opaque ", "TypeError", "SecurityError", "DataError", "null"}


@pytest.fixture(scope="module")
async def tls_port(edge: Edge, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    async with tls(certificate(tmp_path_factory.mktemp("tls")), edge.port) as port:
        yield port


@pytest.fixture
def settings(settings: Settings, tls_port: int) -> Settings:
    addresses = {"public_url": f"https://{HOME}:{tls_port}", "workspace_url": f"https://{{route}}.{APPS}:{tls_port}"}
    return settings.model_copy(update=addresses)


@pytest.fixture
async def browser() -> AsyncIterator[BrowserContext]:
    arguments = [*ARGUMENTS, "--ignore-certificate-errors"]
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=find_browser(), args=arguments)
        context = await chromium.new_context(ignore_https_errors=True)
        context.set_default_timeout(20_000)
        yield context
        await chromium.close()


def evil(arrival: Arrival) -> bytes:
    """The page, and headers that reach for the neighbours' cookies and the site's data."""
    domains = ("team.localhost", APPS, HOME)
    tossed = [f"Set-Cookie: __Host-spawner_session=evil; Path=/; Secure; Domain={domain}" for domain in domains]
    tossed += [f"Set-Cookie: \xa0__Host-spawner_session={'e' * 43}; Path=/; Domain={domain}" for domain in domains]
    tossed += [f"Set-Cookie: tossed=1; Path=/; Domain={domain}" for domain in domains]
    return page("<!doctype html><title>evil</title>", *tossed, 'Clear-Site-Data: "*"')


async def give_cookies(site: Site, browser: BrowserContext, *owned: Owned) -> None:
    """Sign the visitor in at the pages and at the workspaces, as the platform does."""
    shared: dict[str, Any] = {"httpOnly": True, "secure": True, "sameSite": "Lax"}
    home = {"name": "__Host-spawner_session", "value": owned[0].owner.cookie, "url": site.settings.public_url}
    opened = [{"name": "__Host-spawner_workspace", "value": o.value, "url": site.origin(o.route)} for o in owned]
    await browser.add_cookies([{**cookie, **shared} for cookie in (home, *opened)])  # type: ignore[typeddict-item]


async def ours(browser: BrowserContext) -> list[tuple[str, str, str]]:
    """The cookies that the platform would take for its own."""
    cookies = await browser.cookies()
    return sorted((c["domain"], c["name"], c["value"]) for c in cookies if c["name"].startswith("__Host-spawner"))


async def me(site: Site, browser: BrowserContext) -> tuple[int, str]:
    """Who the API says is there, asked by the pages' own script."""
    home = await browser.new_page()
    await home.goto(f"{site.settings.public_url}/")
    found: list[Any] = await home.evaluate(
        "async () => { const a = await fetch('/api/user/me'); return [a.status, (await a.json()).user.slug]; }"
    )
    await home.close()
    return found[0], found[1]


async def opener(site: Site, browser: BrowserContext, url: str) -> str:
    """What a workspace that the pages open in another tab can reach of them."""
    home = await browser.new_page()
    await home.goto(f"{site.settings.public_url}/")
    async with browser.expect_page() as opening:
        await home.evaluate("url => { window.open(url); }", url)
    opened = await opening.value
    await opened.wait_for_url(url)
    found: str = await opened.evaluate("() => String(window.opener)")
    return found


def reached(container: Upstream) -> list[tuple[bytes, bool]]:
    return [(arrival.request_line.split(b" ")[0], bool(arrival.get(b"upgrade"))) for arrival in container.arrivals]


async def test_an_evil_workspace_gets_nothing_in_its_visitors_browser(site: Site, browser: BrowserContext) -> None:
    async with upstream(evil) as bad, upstream(lambda _: page("sibling's secret")) as good:
        own = await site.own(port=bad.port)
        sibling = await site.own(own.owner, "jupyter", port=good.port)
        token = await make_link(site.resources, await make_user(site.resources, "mallory"))
        await give_cookies(site, browser, own, sibling)
        before = await ours(browser)
        assert await me(site, browser) == (200, "alice")

        tab = await browser.new_page()
        arrived = await tab.goto(f"{site.origin(own.route)}/")
        assert arrived is not None
        assert arrived.status == 200
        places = {"home": site.settings.public_url, "sibling": site.origin(sibling.route)}
        got = await tab.evaluate(ATTACKS, {**places, "token": token, "wait": WAIT_MS})

        assert {name: what for name, what in got.items() if what not in HARMLESS} == {}
        framed = [frame.url for frame in tab.frames[1:] if frame.url.startswith(site.settings.public_url)]
        assert framed == []
        # Its own socket came through the gateway, so the sibling's was refused for its Origin alone.
        assert (b"GET", True) in reached(bad)
        assert reached(good) == []
        assert await ours(browser) == before
        # The browser took what is no `__Host-` cookie, so the tossing itself was tried.
        assert "spawner_session" in {cookie["name"] for cookie in await browser.cookies()}
        assert [c["domain"] for c in await browser.cookies() if c["name"] == "tossed"] == [
            site.host(own.route).partition(":")[0]
        ]
        assert await me(site, browser) == (200, "alice")
        assert await opener(site, browser, f"{site.origin(own.route)}/") == "null"
        again = await tab.goto(f"{site.origin(sibling.route)}/")
        assert again is not None
        assert (again.status, await again.text()) == (200, "sibling's secret")
    async with site.resources.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Job)) == 0
        assert [row.ended_at for row in await session.scalars(select(Session))] == [None]
        assert (await session.scalars(select(MagicLink))).one().spent_at is None
