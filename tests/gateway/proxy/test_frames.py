"""A workspace in the frame of a course's page: for the listed ones it works, others get a link that opens a tab."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import BrowserContext, Error, Frame, async_playwright

from app.core.settings.model import Settings
from deploy.stack.up import find_browser
from tests.support.chromium import ARGUMENTS
from tests.support.production_edge import certificate, edge, page, tls
from tests.support.proxy import Edge, Owned, Site
from tests.support.upstream import Arrival, Upstream, upstream
from tests.support.waiting import PATIENCE

__all__ = ["edge"]
# Another site than the workspaces', and one that nobody lists.
COURSE, OTHER = "moodle.school.localhost", "evil.other.localhost"
POLICIES = [
    "Content-Security-Policy: default-src * 'unsafe-inline'; FRAME-ancestors 'none' ; img-src *",
    "Content-Security-Policy: frame-ancestors https://nobody.example.org, script-src * 'unsafe-inline'",
    "X-Frame-Options: DENY",
]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
async def tls_port(edge: Edge, context: ssl.SSLContext) -> AsyncIterator[int]:
    async with tls(context, edge.port) as port:
        yield port


@pytest.fixture(scope="module")
async def course(context: ssl.SSLContext) -> AsyncIterator[tuple[int, list[str]]]:
    """A page of other sites, which frames what the test names."""
    framed = [""]
    text = '<!doctype html><title>course</title><iframe src="{}" width=800 height=600></iframe>'
    async with upstream(lambda _: page(text.format(framed[0]))) as server, tls(context, server.port) as port:
        yield port, framed


@pytest.fixture
def settings(settings: Settings, tls_port: int, course: tuple[int, list[str]]) -> Settings:
    home, apps = "spawner.team.localhost", "apps.team.localhost"
    return settings.model_copy(
        update={
            "public_url": f"https://{home}:{tls_port}",
            "workspace_url": f"https://{{route}}.{apps}:{tls_port}",
            "frame_ancestors": [f"https://{COURSE}:{course[0]}"],
        }
    )


@asynccontextmanager
async def chromium() -> AsyncIterator[BrowserContext]:
    """A private window, which blocks other sites' cookies in frames."""
    async with async_playwright() as playwright:
        arguments = [*ARGUMENTS, "--ignore-certificate-errors"]
        started = await playwright.chromium.launch(executable_path=find_browser(), args=arguments)
        context = await started.new_context(ignore_https_errors=True)
        context.set_default_timeout(PATIENCE * 1000)
        yield context
        await started.close()


async def allow_storage(browser: BrowserContext, top: str, embedded: str) -> None:
    """Answer what the browser would ask its person."""
    assert browser.browser is not None
    session = await browser.browser.new_browser_cdp_session()
    for context in (await session.send("Target.getBrowserContexts"))["browserContextIds"]:
        given = {"permission": {"name": "storage-access"}, "setting": "granted", "browserContextId": context}
        await session.send("Browser.setPermission", {**given, "origin": top, "embeddedOrigin": embedded})


def application(arrival: Arrival) -> bytes:
    """An application that wants to be framed by nobody."""
    return page("<!doctype html><title>app</title><h1>the application</h1>", *POLICIES)


async def signed_in(site: Site, browser: BrowserContext, owned: Owned) -> None:
    """At the pages alone: the workspace's own cookie has to come about."""
    await browser.add_cookies(
        [
            {
                "name": "__Host-spawner_session",
                "value": owned.owner.cookie,
                "url": site.settings.public_url,
                "httpOnly": True,
                "secure": True,
                "sameSite": "Lax",
            }
        ]
    )


async def frame_in(site: Site, browser: BrowserContext, host: str, course: tuple[int, list[str]], url: str) -> Frame:
    port, framed = course
    framed[0] = url
    tab = await browser.new_page()
    for _ in range(20):
        try:
            await tab.goto(f"https://{host}:{port}/")
            break
        except Error as error:
            # Bridges of other tests come and go on this machine.
            if "ERR_NETWORK_CHANGED" not in str(error):
                raise
    await tab.wait_for_load_state("load")
    return tab.frames[1]


async def test_a_listed_page_shows_a_workspace_once_it_was_opened_in_a_tab(
    site: Site, course: tuple[int, list[str]]
) -> None:
    async with chromium() as browser, upstream(application) as container:
        owned = await site.own(port=container.port)
        address = f"{site.origin(owned.route)}/"
        await allow_storage(browser, f"https://{COURSE}:{course[0]}", site.origin(owned.route))
        await signed_in(site, browser, owned)
        frame = await frame_in(site, browser, COURSE, course, address)
        link = frame.get_by_role("link", name="Open in a tab")
        async with browser.expect_page() as opening:
            await link.click()
        tab = await opening.value
        await tab.wait_for_url(address)
        assert await tab.text_content("h1") == "the application"
        assert container.arrivals
        await frame.get_by_role("link", name="show it here").click()
        await frame.get_by_role("heading", name="the application").wait_for()
        # And what the application asks from there.
        assert await frame.evaluate("fetch('/x', {method: 'POST'}).then(answer => answer.status)") == 200


async def test_an_unlisted_page_and_the_pages_themselves(site: Site, course: tuple[int, list[str]]) -> None:
    async with chromium() as browser, upstream(application) as container:
        owned = await site.own(port=container.port)
        await signed_in(site, browser, owned)
        await (await browser.new_page()).goto(f"{site.origin(owned.route)}/")
        seen = pages_of(container)
        frame = await frame_in(site, browser, OTHER, course, f"{site.origin(owned.route)}/")
        await frame.get_by_role("link", name="Open in a tab").wait_for()
        assert pages_of(container) == seen == 1
        for path in ("/", "/sign-in", f"/open/{owned.route}"):
            frame = await frame_in(site, browser, COURSE, course, site.settings.public_url + path)
            assert not frame.url.startswith(site.settings.public_url), frame.url


def pages_of(container: Upstream) -> int:
    """Browsers ask for an icon, too, whenever they like."""
    return sum(arrival.target == b"/" for arrival in container.arrivals)


def policies(arrival: Arrival) -> bytes:
    return page("x", *POLICIES)


async def test_the_applications_word_on_frames_gives_way_to_the_list_and_the_rest_of_it_stays(site: Site) -> None:
    async with upstream(policies) as container:
        owned = await site.own(port=container.port)
        cookie = {"Cookie": f"__Host-spawner_workspace={owned.value}", "Sec-Fetch-Site": "none"}
        answer = await site.ask(owned.route, "/", cookie)
        assert "x-frame-options" not in answer.headers
        assert [part.strip() for part in answer.headers.get_list("content-security-policy", split_commas=False)] == [
            "default-src * 'unsafe-inline';; img-src *",
            ", script-src * 'unsafe-inline'",
            f"frame-ancestors 'self' {site.settings.frame_ancestors[0]}",
        ]


async def test_without_a_list_the_applications_word_stays(site: Site, container: Upstream) -> None:
    site.settings.frame_ancestors.clear()
    owned = await site.own(port=container.port)
    answer = await site.ask(owned.route, "/", {"Cookie": f"__Host-spawner_workspace={owned.value}"})
    got = answer.headers.get_list("content-security-policy", split_commas=False)
    assert [f"Content-Security-Policy: {value}" for value in got] == POLICIES[:2]
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.fixture
async def container() -> AsyncIterator[Upstream]:
    async with upstream(policies) as made:
        yield made


async def test_the_gateways_own_pages_follow_the_list(site: Site) -> None:
    owned = await site.own(port=1)
    cookie = {"Cookie": f"__Host-spawner_workspace={owned.value}", "Sec-Fetch-Site": "none"}
    answer = await site.visit(owned.route, "/", cookie)
    assert answer.status_code == 503
    assert answer.headers["content-security-policy"].endswith(
        f"frame-ancestors 'self' {site.settings.frame_ancestors[0]}"
    )
    assert "x-frame-options" not in answer.headers
    for path in ("/sign-in", "/", "/openapi.json"):
        answer = await site.public(path, {"Host": f"spawner.team.localhost:{site.edge.port}"})
        assert answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
