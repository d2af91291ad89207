"""A browser that runs scripts and clicks nothing, as mail scanners are, spends nothing; a person at one signs in."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from sqlalchemy import select

from app.core.settings.model import Settings
from app.models import MagicLink
from app.resources import Resources
from deploy.stack.up import find_browser
from tests.conftest import TestWorker
from tests.support.chromium import ARGUMENTS
from tests.support.emails import Inbox
from tests.support.factories import make_user
from tests.support.waiting import PATIENCE

ALICE = "alice@example.org"
CONFIRM = "Confirm and sign in"


@pytest.fixture
def listening() -> socket.socket:
    """Where the pages will answer."""
    return socket.create_server(("127.0.0.1", 0))


@pytest.fixture
def settings(settings: Settings, listening: socket.socket) -> Settings:
    """Of an installation at that address."""
    return settings.model_copy(update={"public_url": f"http://localhost:{listening.getsockname()[1]}"})


@pytest.fixture
async def site(app: FastAPI, settings: Settings, listening: socket.socket) -> AsyncIterator[str]:
    """The pages over HTTP; their address."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    yield settings.public_url
    server.should_exit = True
    await serving


@asynccontextmanager
async def someone(chromium: Browser) -> AsyncIterator[Page]:
    """A tab of a browser profile of its own."""
    context: BrowserContext = await chromium.new_context(locale="en-GB")
    page = await context.new_page()
    yield page
    await context.close()


async def ask(page: Page, site: str, worker: TestWorker) -> None:
    """Ask for a link, and have it mailed."""
    await page.goto(f"{site}/sign-in")
    await fill(page, worker)


async def fill(page: Page, worker: TestWorker) -> None:
    await page.get_by_label("E-mail address").fill(ALICE)
    await page.get_by_role("button", name="Send me a link").click()
    await expect(page.get_by_label("Or type the code from the mail here")).to_be_visible()
    await worker.drain()


async def spent(resources: Resources) -> list[bool]:
    """Whether each link was used, the oldest first."""
    async with resources.sessions() as session:
        times = await session.scalars(select(MagicLink.spent_at).order_by(MagicLink.created_at))
        return [time is not None for time in times]


async def test_a_browser_that_clicks_nothing_spends_nothing_and_a_person_confirms(
    site: str, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=find_browser(), args=ARGUMENTS)
        async with someone(chromium) as hers, someone(chromium) as scanner:
            await ask(hers, site, worker)
            link = f"{site}/auth/confirm#token={inbox.token(ALICE)}"
            await scanner.goto(link)
            await expect(scanner.locator("#as")).to_have_text("You are signing in as a•••@example.org")
            await expect(scanner.locator("#other")).to_contain_text("requested in another browser")
            await scanner.wait_for_load_state("networkidle")
            assert "token" not in scanner.url
            await scanner.goto(f"{site}/check-mail")
            assert await spent(resources) == [False]
            await hers.goto(link)
            await expect(hers.locator("#as")).to_have_text(f"You are signing in as {ALICE}")
            await expect(hers.locator("#other")).to_be_hidden()
            await scanner.goto(link)
            await scanner.get_by_role("button", name=CONFIRM).click()
            await expect(scanner).to_have_url(f"{site}/")
            assert await spent(resources) == [True]
            await hers.get_by_role("button", name=CONFIRM).click()
            await expect(hers.locator("#refused")).to_contain_text("This link is not valid")
            await expect(hers.get_by_role("button", name=CONFIRM)).to_be_hidden()
            await expect(hers.get_by_role("link", name="Request a new link")).to_be_visible()
            await types_the_code(hers, site, worker, inbox)
            assert await spent(resources) == [True, True]
        await chromium.close()


async def test_who_followed_a_link_arrives_there_in_any_browser_and_the_waiting_tab_goes_on(
    site: str, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    await make_user(resources)
    place = f"{site}/open/alice-jupyter?next=%2Flab%3Fq%3D{'x' * 1500}#cell-3"
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=find_browser(), args=ARGUMENTS)
        async with someone(chromium) as hers, someone(chromium) as phone:
            await hers.goto(place)
            await fill(hers, worker)
            await phone.goto(f"{site}/auth/confirm#token={inbox.token(ALICE)}")
            await expect(phone.locator("#leads")).to_contain_text("in your workspace JupyterLab")
            await phone.get_by_role("button", name=CONFIRM).click()
            await expect(phone).to_have_url(place)
            patience = 1000 * PATIENCE
            await expect(hers.get_by_role("heading", name="Your link was used")).to_be_visible(timeout=patience)
            await hers.get_by_role("link", name="Request a new link").click()
            await fill(hers, worker)
            tab = await hers.context.new_page()
            await tab.goto(f"{site}/auth/confirm#token={inbox.token(ALICE)}")
            await tab.get_by_role("button", name=CONFIRM).click()
            await expect(tab).to_have_url(place)
            await hers.bring_to_front()
            await expect(hers).to_have_url(place, timeout=patience)
        await chromium.close()


async def types_the_code(page: Page, site: str, worker: TestWorker, inbox: Inbox) -> None:
    """With a slip first, which the page points out."""
    await ask(page, site, worker)
    field, button = page.locator("#code"), page.get_by_role("button", name="Sign in with the code")
    await button.click()
    await expect(page.locator("#code-error")).to_have_text("Type the code first.")
    await field.fill("AAAA-AAAA")
    await button.click()
    await expect(page.locator("#code-error")).to_contain_text("This code is not valid here")
    await expect(field).to_be_focused()
    await field.fill(f" {inbox.code(ALICE).lower()} ")
    await field.press("Enter")
    await expect(page).to_have_url(f"{site}/")
