"""A person's whole way, in headless Chromium, through the real proxy and on the real engine."""

import re
import subprocess
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from app.core.addresses import workspace_url
from deploy.stack.console import StepFailed, wait_until
from tests.support.chromium import (
    PATIENCE_MS,
    Person,
    launch,
    open_workspace,
    person,
    restart,
    sign_up,
    stop,
    wait_running,
)
from tests.support.stack import RunningStack


def address_of(stack: RunningStack, slug: str, template: str) -> str:
    return workspace_url(stack.load_settings(), slug, template)


def see_hello(someone: Person, slug: str) -> None:
    """Open hello, be greeted by name at the workspace's own origin, talk to it."""
    page = open_workspace(someone, "hello")
    expect(page).to_have_url(address_of(someone.stack, slug, "hello"), timeout=PATIENCE_MS)
    assert urlsplit(page.url).netloc != urlsplit(someone.home).netloc
    facts = page.locator("dl > div")
    expect(facts.filter(has_text="signed in as").locator("dd")).to_have_text(slug)
    expect(facts.filter(has_text="slug").locator("dd")).to_have_text(slug)
    someone.arrive(page.locator("output", has_text="Connected."))
    page.get_by_label("Say something").fill("Grüße, proxy")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("output")).to_have_text("← Grüße, proxy", timeout=PATIENCE_MS)
    page.close()


def run_cell(someone: Person, slug: str) -> None:
    """Open JupyterLab, make a notebook from the launcher, run a cell that prints and writes a file."""
    page = open_workspace(someone, "jupyter")
    page.wait_for_url(address_of(someone.stack, slug, "jupyter") + "lab**")
    notebook = page.locator('.jp-LauncherCard[data-category="Notebook"]').first
    someone.press(notebook)
    # What is run before the kernel is there is dropped.
    expect(page.locator("#jp-main-statusbar").get_by_text("| Idle")).to_be_visible(timeout=PATIENCE_MS)
    cell = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    cell.click()
    page.keyboard.insert_text("print(6 * 7); open('kept.txt', 'w').write('still here')")
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".jp-OutputArea-output").first).to_have_text(re.compile(r"^42\s*$"), timeout=PATIENCE_MS)
    page.close()


def read_kept(someone: Person, slug: str) -> None:
    """Find the file again, by JupyterLab's own page and API."""
    page = open_workspace(someone, "jupyter")
    someone.arrive(page.locator("#jp-main-dock-panel"))
    path = urlsplit(address_of(someone.stack, slug, "jupyter")).path + "api/contents/kept.txt"
    found = page.evaluate("async path => (await (await fetch(path)).json()).content", path)
    assert found == "still here"
    page.close()


def wake(someone: Person, slug: str) -> None:
    """Find hello paused on coming back to home's tab, open it, and be there once it is awake."""
    page, engine = someone.page, someone.stack.engine.url
    (name,) = [name for name in someone.stack.containers() if name.endswith(f"-{slug}-hello")]
    subprocess.run(["docker", "--host", engine, "pause", name], check=True, capture_output=True)
    badge = page.locator("#workspace-hello .badge")

    def seen() -> bool:
        page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_timeout(200)
        return badge.inner_text() == "Paused"

    wait_until(seen, PATIENCE_MS / 1000, lambda: StepFailed("the card does not say that it is paused"))
    with someone.context.expect_page() as opening:
        page.locator("a#main-hello").click()
    expect(opening.value).to_have_url(address_of(someone.stack, slug, "hello"), timeout=PATIENCE_MS)
    someone.arrive(opening.value.locator("output", has_text="Connected."))
    opening.value.close()
    page.reload()
    wait_running(someone, "hello")


def sign_out(someone: Person, slug: str) -> None:
    """Sign out; home asks to sign in, and the workspace's page that was open gets nothing more."""
    page = open_workspace(someone, "hello")
    someone.arrive(page.locator("output", has_text="Connected."))
    someone.page.get_by_role("button", name="Sign out").click()
    expect(someone.page).to_have_url(f"{someone.home}sign-in", timeout=PATIENCE_MS)
    someone.visit(someone.home)
    expect(someone.page).to_have_url(f"{someone.home}sign-in", timeout=PATIENCE_MS)
    asked = f"{page.url}headers"
    someone.refused.add(asked)
    assert page.evaluate("async url => (await fetch(url)).status", asked) == 401
    page.reload()
    # The way back is kept.
    expect(page).to_have_url(re.compile(re.escape(f"{someone.home}sign-in?next=%2Fopen%2F")), timeout=PATIENCE_MS)


def told(page: Page) -> str:
    return page.locator("body").inner_text()


def find_nothing(stranger: Person, slug: str) -> None:
    """A stranger's workspace and one that nobody has are the same page, whichever way they are asked for."""
    stack = stranger.stack
    unknown, foreign = f"{stranger.home}open/nobody-hello", f"{stranger.home}open/{slug}-hello"
    stranger.visit(unknown, status=404)
    expected = told(stranger.page)
    assert "404" in expected
    stranger.visit(foreign, status=404)
    assert told(stranger.page) == expected
    for name in ("nobody", slug):
        answer = knock(stranger, address_of(stack, name, "hello"))
        assert answer == expected
    own = next(cookie for cookie in stranger.context.cookies() if cookie["name"] == "spawner_workspace")
    for name in ("nobody", slug):
        url = address_of(stack, name, "hello")
        stranger.context.add_cookies([{"name": own["name"], "value": own["value"], "url": url}])
        stranger.visit(url, status=404)
        assert "signed in as" not in told(stranger.page)


def knock(stranger: Person, url: str) -> str:
    """Visit a workspace's address with whatever cookies there are, and read the page that this leads to."""
    page = stranger.page
    with page.expect_response(lambda answer: answer.status == 404) as refusal:
        page.goto(url)
    stranger.refused.add(refusal.value.url)
    return told(page)


@pytest.mark.timeout(300)
def test_a_person_signs_up_works_in_two_workspaces_and_signs_out_and_a_stranger_sees_nothing(
    stack: RunningStack, browser: Browser
) -> None:
    with person(browser, stack) as rosa:
        sign_up(rosa, "rosa@example.org")
        wait_running(rosa, "hello")
        see_hello(rosa, "rosa")
        steps = launch(rosa, "jupyter")
        assert "Waiting for its first answer" in steps
        assert len(steps) > 1
        run_cell(rosa, "rosa")
        before = stack.containers()
        restart(rosa, "hello")
        see_hello(rosa, "rosa")
        restart(rosa, "jupyter")
        after = stack.containers()
        assert before.keys() == after.keys()
        assert not set(before.values()) & set(after.values())
        read_kept(rosa, "rosa")
        stop(rosa, "hello")
        launch(rosa, "hello")
        see_hello(rosa, "rosa")
        wake(rosa, "rosa")
        with person(browser, stack) as stranger:
            sign_up(stranger, "egon@example.org")
            wait_running(stranger, "hello")
            see_hello(stranger, "egon")
            find_nothing(stranger, "rosa")
        sign_out(rosa, "rosa")
