"""Applications that people use, from their packages, as docs/templates.md describes them: marimo and Streamlit."""

import pytest
from playwright.sync_api import Browser, Page, expect

from app.core.addresses import workspace_url
from tests.support.chromium import PATIENCE_MS, Person, launch, open_workspace, person, restart, sign_up, wait_running
from tests.support.stack import RunningStack

OWNER = "marlene"


def reload(page: Page, someone: Person, template: str) -> None:
    """Reload, and see the application open its websocket below the workspace's own address."""
    home = workspace_url(someone.stack.load_settings(), OWNER, template)
    with page.expect_websocket(lambda socket: socket.url.startswith(home.replace("http", "ws", 1))):
        page.reload()


def count(someone: Person) -> None:
    """Open Streamlit, whose page comes over its websocket; press the button, and again after a reload."""
    page = open_workspace(someone, "streamlit")
    for attempt in range(2):
        someone.arrive(page.get_by_text("Counted 0"))
        someone.press(page.get_by_role("button", name="Count"))
        expect(page.get_by_text("Counted 1")).to_be_visible(timeout=PATIENCE_MS)
        if attempt == 0:
            reload(page, someone, "streamlit")
    page.close()


def run_cell(someone: Person, code: str, answer: str) -> Page:
    """Make a notebook in marimo and run a cell, whose answer comes over the websocket."""
    home = open_workspace(someone, "marimo")
    new = home.get_by_text("Create a new notebook")
    someone.arrive(new)
    with someone.context.expect_page() as opening:
        new.click()
    page = opening.value
    someone.arrive(page.locator(".cm-content").first)
    page.locator(".cm-content").first.click()
    page.keyboard.insert_text(code)
    page.get_by_test_id("run-button").first.click()
    see_answer(page, answer)
    home.close()
    return page


def see_answer(page: Page, answer: str) -> None:
    expect(page.locator('[data-cell-role="output"]').first).to_have_text(answer, timeout=PATIENCE_MS)


def own_containers(stack: RunningStack) -> dict[str, str]:
    return {name: engine_id for name, engine_id in stack.containers().items() if f"-{OWNER}-" in name}


@pytest.mark.timeout(300)
def test_marimo_and_streamlit_start_reload_talk_over_websockets_and_survive_a_restart(
    stack: RunningStack, browser: Browser
) -> None:
    with person(browser, stack) as marlene:
        sign_up(marlene, f"{OWNER}@example.org")
        marlene.page.locator("button#main-marimo").click()
        launch(marlene, "streamlit")
        wait_running(marlene, "marimo")
        count(marlene)
        notebook = run_cell(marlene, "open('kept.txt', 'w').write('still here'); 6 * 7", "42")
        reload(notebook, marlene, "marimo")
        see_answer(notebook, "42")
        notebook.close()
        before = own_containers(stack)
        restart(marlene, "streamlit", "marimo")
        after = own_containers(stack)
        assert before.keys() == after.keys()
        replaced = {name.rpartition("-")[2] for name in before if before[name] != after[name]}
        assert replaced == {"streamlit", "marimo"}
        count(marlene)
        run_cell(marlene, "6 * 8 if open('kept.txt').read() == 'still here' else 'lost'", "48")
