"""The documentation at /docs, in a real browser through a real Caddy: it works without any other server."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from playwright.async_api import Page, async_playwright

from tests.support.ports import reserved_port
from tests.support.proxy import caddy, serving

CHROMIUM = "/usr/bin/chromium"
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(params=["path", "host"])
async def origin(request: pytest.FixtureRequest, app: FastAPI, tmp_path: Path) -> AsyncIterator[str]:
    """The public origin, with workspaces named by path and by host."""
    port = reserved_port()
    workspaces = f"http://127.0.0.1:{port}" if request.param == "path" else f"http://*.apps.localhost:{port}"
    async with serving(app) as api_port, caddy(tmp_path, port, workspaces, api_port):
        yield f"http://localhost:{port}"


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A page of Chromium."""
    async with AsyncExitStack() as exits:
        playwright = await exits.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, "--no-first-run"])
        exits.push_async_callback(browser.close)
        yield await browser.new_page()


async def test_the_documentation_works_and_asks_no_other_server(origin: str, page: Page) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(f"{origin}/docs")
    await page.click("#operations-health-livez .opblock-summary-control")
    await page.click("#operations-health-livez .try-out__btn")
    await page.click("#operations-health-livez .execute")
    answer = page.locator("#operations-health-livez .live-responses-table .response-col_status").last
    await answer.wait_for()
    assert (await answer.inner_text()).startswith("200")
    # Examples and shared answers are references: the page follows them.
    stop = page.locator("#operations-container-stop_workspace")
    await stop.locator(".opblock-summary-control").click()
    for status, shown in (("202", "The workspace is stopping."), ("401", "unauthorized"), ("503", "unavailable")):
        await stop.locator(f'.response[data-code="{status}"] .example', has_text=shown).wait_for()
    assert f"{origin}/openapi.json" in asked
    assert f"{origin}/livez" in asked
    assert [url for url in asked if not url.startswith((f"{origin}/", "data:"))] == []
    assert complaints == []


async def test_the_page_names_no_address_of_another_server(client: httpx.AsyncClient) -> None:
    html = (await client.get("/docs")).text
    assert "swagger-ui-bundle.js" in html
    assert re.findall(r"(?:https?:)?//\w[^\s\"']*", html) == []


async def test_the_document_is_served_to_everybody_and_there_is_no_other_page(client: httpx.AsyncClient) -> None:
    document = await client.get("/openapi.json")
    assert document.json()["openapi"].startswith("3.1")
    assert (await client.get("/redoc")).status_code == 404
