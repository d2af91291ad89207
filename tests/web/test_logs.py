"""The page of a workspace's log: what the container says now, else what the last job that failed has kept."""

from collections.abc import AsyncGenerator, AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from app.core.settings.model import Settings
from app.models import JobState, JobStep, WorkspaceStatus, utcnow
from app.resources import Resources
from app.workspaces import logs as protocol
from tests.conftest import TestWorker
from tests.support.browsers import Page, make_browser, make_workspace
from tests.support.factories import SignedIn, sign_in
from tests.support.fakes import FakeRuntime
from tests.support.logs import LoggingRuntime, breaks, numbered, working
from tests.support.pages import HTMX, check_languages, check_policy

PATH = "/home/workspaces/hello"
LOG = f"{PATH}/log"


@pytest.fixture
async def engine(settings: Settings, resources: Resources) -> AsyncIterator[LoggingRuntime]:
    """An engine whose logs a worker passes on; without a line at first."""
    made = LoggingRuntime()
    async with working(settings, resources, made):
        yield made


async def fail(resources: Resources, who: SignedIn, log: str | None) -> None:
    """A launch of hello that ended with exit code 3."""
    error, step = WorkspaceStatus.ERROR, JobStep.FAILED
    values = {"state": JobState.FAILED, "finished_at": utcnow(), "log_tail": log}
    await make_workspace(resources, who.user, error, step=step, error_code="exited", exit_code=3, job=values)


@pytest.mark.parametrize("status", [WorkspaceStatus.RUNNING, WorkspaceStatus.PAUSED, WorkspaceStatus.STOPPED])
async def test_a_card_leads_to_what_its_container_says_now(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn, engine: LoggingRuntime, status: WorkspaceStatus
) -> None:
    engine.source = numbered(3)
    await make_workspace(resources, alice.user, status)
    (link,) = Page((await hers.get("/")).text).find("a", href=LOG)
    answer = await hers.get(str(link["href"]))
    assert ">line 0\nline 1\nline 2</pre>" in answer.text
    assert engine.asked[0][1:] == (200, False)
    assert Page(answer.text).find("a", href=LOG)


async def test_a_container_that_died_and_was_kept_says_how_it_ended(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn, engine: LoggingRuntime
) -> None:
    engine.source = numbered(1)
    await fail(resources, alice, "older")
    answer = await hers.get(LOG)
    assert ">line 0</pre>" in answer.text
    assert "Exit code 3." in answer.text
    assert "older" not in answer.text


async def test_a_failure_leads_to_the_lines_that_its_container_left(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn, engine: LoggingRuntime
) -> None:
    await fail(resources, alice, "first line\n<script>alert(1)</script>\n  last & least")
    home = await hers.get("/")
    assert "Exit code 3." in home.text
    (link,) = Page(home.text).find("a", href=LOG)
    answer = await hers.get(str(link["href"]))
    page = check_policy(answer)
    assert not page.find("script")
    assert page.find("pre", tabindex="0")
    assert "first line\n&lt;script&gt;alert(1)&lt;/script&gt;\n  last &amp; least</pre>" in answer.text
    assert "Exit code 3." in answer.text
    assert "Look at its log" in answer.text


@pytest.mark.parametrize("worker_there", [True, False])
async def test_a_log_that_cannot_be_read_says_so_beside_what_is_kept(
    hers: httpx.AsyncClient,
    resources: Resources,
    alice: SignedIn,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    *,
    worker_there: bool,
) -> None:
    monkeypatch.setattr(protocol, "ANSWER_SECONDS", 1)
    await fail(resources, alice, "a line that was kept")
    if worker_there:
        engine = LoggingRuntime()
        engine.source = numbered(0, then=breaks)
        async with working(settings, resources, engine):
            answer = await hers.get(LOG)
    else:
        answer = await hers.get(LOG)
    assert answer.status_code == 200
    assert "The log cannot be read right now" in answer.text
    assert "a line that was kept" in answer.text


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("never", "There is no container yet"),
        ("silent", "written nothing so far"),
        ("failed", "There are no lines"),
        ("lines", "at most 200"),
        ("kept", "that its container wrote:"),
    ],
)
async def test_the_page_speaks_both_languages_whatever_there_is(
    app: FastAPI, resources: Resources, alice: SignedIn, engine: LoggingRuntime, case: str, sentence: str
) -> None:
    engine.source = numbered(0) if case != "lines" else written
    if case in ("failed", "kept"):
        await fail(resources, alice, "42" if case == "kept" else None)
    elif case != "never":
        await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    answers = []
    for locale in ("en", "de"):
        async with make_browser(app, alice, locale=locale) as browser:
            answers.append(await browser.get(LOG))
    assert sentence in answers[0].text
    check_languages(*answers)


async def written(tail: int) -> AsyncGenerator[str, None]:
    yield "42"


async def test_a_container_that_exits_shows_its_exit_code_and_where_its_log_is(
    hers: httpx.AsyncClient, worker: TestWorker, runtime: FakeRuntime, engine: LoggingRuntime
) -> None:
    runtime.port, runtime.exit_code = 1, 3
    await hers.post(f"{PATH}/launch")
    await worker.drain()
    answer = await hers.get(PATH, headers=HTMX)
    assert "Exit code 3." in answer.text
    assert Page(answer.text).find("a", href=LOG)
    assert "ended by itself" in (await hers.get(LOG)).text


async def test_a_log_is_its_owners_alone(hers: httpx.AsyncClient, resources: Resources, engine: LoggingRuntime) -> None:
    engine.source = numbered(1)
    bob = await sign_in(resources, "bob")
    await fail(resources, bob, "bob's secret")
    answer = await hers.get(LOG)
    assert "bob" not in answer.text
    assert engine.asked == []
    assert (await hers.get("/home/workspaces/nothing/log")).status_code == 404
