"""A person at a real browser: what they do on the pages, and what the browser complains of meanwhile."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Playwright,
    Request,
    Response,
    expect,
)
from playwright.sync_api import Error as BrowserError

from deploy.stack.up import find_browser
from tests.support.stack import RunningStack

# Nothing but what the test does may start, call home, or look for a sandbox that root does not have.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
]
# Launches share two cores with everything else that a test run does.
PATIENCE_MS = 60_000

NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
# What is heard in a workspace that is in order.
NOISE = (
    # Browsers ask for it at the root of each origin, and in path mode no workspace lives there.
    re.compile(r"/favicon\.ico: Failed to load resource"),
    # Each workspace brings a network interface; on the engine's own machine Chromium drops what it is loading then,
    # and a page tells of the scripts that it misses.
    re.compile(NETWORK_CHANGED),
    re.compile(r"Loading chunk \w+ failed|Stylesheet failed to load|TypeError: Failed to fetch"),
)


def launch_browser(playwright: Playwright) -> Browser:
    """Start the machine's own Chromium, headless."""
    return playwright.chromium.launch(executable_path=find_browser(), args=ARGUMENTS)


@dataclass
class Person:
    """One browser profile with its first tab. `refused` are addresses that a test saw refused, and meant to."""

    stack: RunningStack
    context: BrowserContext
    page: Page
    heard: list[tuple[str, str]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    @property
    def home(self) -> str:
        return f"{self.stack.public_url}/"

    @property
    def complaints(self) -> list[str]:
        """Console messages that our pages must not cause."""
        meant = [(url, text) for url, text in self.heard if url in self.refused and "Failed to load resource" in text]
        said = [f"{url}: {text}" for url, text in self.heard if (url, text) not in meant]
        return [text for text in said if not any(noise.search(text) for noise in NOISE)]

    def listen(self) -> None:
        """Collect errors of every tab: messages in the console, broken policies among them, and scripts that throw."""
        self.context.on("console", self._note)
        self.context.on(
            "weberror", lambda thrown: self.heard.append((thrown.page.url if thrown.page else "", str(thrown.error)))
        )

    def visit(self, url: str, *, status: int = 200) -> Response:
        """Go to an address that must answer so."""
        if status >= 400:
            self.refused.add(url)
        answer = self.page.goto(url)
        assert answer is not None
        assert answer.status == status, f"{answer.url}: {answer.status}"
        return answer

    def arrive(self, landmark: Locator) -> None:
        """Wait until the landmark is visible; reload once if the machine's network has changed."""
        try:
            expect(landmark).to_be_visible(timeout=PATIENCE_MS / 2)
        except AssertionError:
            if not self._network_changed:
                raise
            self._reload(landmark)

    def press(self, button: Locator) -> None:
        """Click; reload the page once if a change of the network left it incomplete."""
        self.arrive(button)
        try:
            button.click(timeout=PATIENCE_MS / 3)
        except BrowserError:
            if not self._network_changed:
                raise
            self._reload(button)
            button.click()

    @property
    def _network_changed(self) -> bool:
        return any(NETWORK_CHANGED in text for _, text in self.heard)

    def _reload(self, landmark: Locator) -> None:
        landmark.page.reload()
        expect(landmark).to_be_visible(timeout=PATIENCE_MS)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.heard.append((message.location["url"], message.text))


@contextmanager
def person(browser: Browser, stack: RunningStack) -> Iterator[Person]:
    """A person with a browser of their own. Errors carry a screenshot's path and the ends of the stack's logs."""
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    someone = Person(stack, context, context.new_page())
    someone.listen()
    try:
        yield someone
        assert not someone.complaints, "the browser complained"
    except (AssertionError, BrowserError) as error:
        pytest.fail(f"{error}\n{_evidence(someone)}")
    finally:
        context.close()


def _evidence(someone: Person) -> str:
    lines = []
    for number, page in enumerate(someone.context.pages):
        shot = someone.stack.logs / f"page-{number}.png"
        with suppress(BrowserError):
            page.screenshot(path=shot, timeout=5_000)
        lines.append(f"{page.url}: {shot}")
    return "\n".join([*lines, *someone.complaints, someone.stack.tail()])


def ask_for_link(someone: Person, address: str) -> str:
    """Fill in the form, read what to do, and find the link in the mail that went through SMTP."""
    someone.visit(someone.home)
    page = someone.page
    expect(page).to_have_url(f"{someone.home}sign-in", timeout=PATIENCE_MS)
    page.get_by_label("E-mail address").fill(address)
    page.get_by_role("button", name="Send me a link").click()
    expect(page.get_by_role("heading", name="Look into your mailbox")).to_be_visible(timeout=PATIENCE_MS)
    links = someone.stack.read_mail(address).links
    return next(link for link in links if link.startswith(f"{someone.home}auth/confirm#token="))


def _told(request: Request) -> str:
    """A request that only reads by its method; any other with its path, too."""
    return request.method if request.method == "GET" else f"{request.method} {urlsplit(request.url).path}"


def confirm(someone: Person, link: str) -> None:
    """Open the link, see that this alone does nothing, and press the button."""
    page = someone.page
    sent: list[str] = []
    page.on("request", lambda request: sent.append(_told(request)))
    someone.visit(link)
    expect(page.locator("#as")).to_contain_text("@example.org", timeout=PATIENCE_MS)
    expect(page.locator("#other")).to_be_hidden()
    button = page.get_by_role("button", name="Confirm and sign in")
    expect(button).to_be_visible(timeout=PATIENCE_MS)
    page.wait_for_load_state("networkidle")
    # One question whose link it is, which spends nothing.
    assert set(sent) == {"GET", "POST /api/auth/link"}
    assert "token" not in page.url
    with someone.context.expect_page() as opening:
        page.evaluate("() => { window.open('/', '_blank'); }")
    expect(opening.value).to_have_url(f"{someone.home}sign-in", timeout=PATIENCE_MS)
    opening.value.close()
    button.click()
    expect(page.get_by_role("heading", name="Your workspaces")).to_be_visible(timeout=PATIENCE_MS)
    assert page.url == someone.home


def sign_up(someone: Person, address: str) -> None:
    """From the form to home."""
    confirm(someone, ask_for_link(someone, address))


def wait_running(someone: Person, template: str) -> None:
    """See the card offer its workspace, without a reload."""
    way_in = someone.page.locator(f"a#main-{template}")
    expect(way_in).to_be_visible(timeout=PATIENCE_MS)
    expect(someone.page.locator(f"#workspace-{template} .badge")).to_have_text("Running")


def launch(someone: Person, template: str) -> list[str]:
    """Launch by the card's button, and return each step that the card showed on the way."""
    someone.page.evaluate(
        """template => {
            window.shown = new Set();
            new MutationObserver(() => {
                const step = document.querySelector(`#workspace-${template} .progress strong`);
                if (step) window.shown.add(step.textContent);
            }).observe(document.querySelector(".cards"), { childList: true, subtree: true });
        }""",
        template,
    )
    someone.page.locator(f"button#main-{template}").click()
    wait_running(someone, template)
    shown: list[str] = someone.page.evaluate("() => [...window.shown]")
    return shown


def restart(someone: Person, *templates: str) -> None:
    """Restart by the cards, which ask once more, and wait until all run again."""
    for template in templates:
        card = someone.page.locator(f"#workspace-{template}")
        card.locator(".more > summary").click()
        card.locator(".restart > summary").click()
        card.locator(".restart button").click()
        expect(card.locator("details[open]")).to_have_count(0, timeout=PATIENCE_MS)
    for template in templates:
        wait_running(someone, template)


def stop(someone: Person, template: str) -> None:
    """Stop by the card, and wait until it offers to start again."""
    card = someone.page.locator(f"#workspace-{template}")
    card.locator(".more > summary").click()
    card.get_by_role("button", name="Stop").click()
    expect(someone.page.locator(f"button#main-{template}")).to_contain_text("Start again", timeout=PATIENCE_MS)


def open_workspace(someone: Person, template: str) -> Page:
    """Follow the card's link into the tab that it opens."""
    with someone.context.expect_page() as opening:
        someone.page.locator(f"a#main-{template}").click()
    return opening.value
