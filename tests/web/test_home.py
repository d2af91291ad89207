"""Home: cards that launch, move, open, restart."""

import asyncio
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from app.core.outbox import announce
from app.models import Job, JobKind, JobStep, WorkspaceStatus
from app.resources import Resources
from tests.conftest import TestWorker
from tests.support.browsers import Page, make_browser, make_workspace
from tests.support.factories import SignedIn, sign_in
from tests.support.pages import HTMX, jobs_of
from tests.support.waiting import SOON


async def test_home_shows_who_is_signed_in_and_every_template(hers: httpx.AsyncClient) -> None:
    page = Page((await hers.get("/")).text)
    assert "alice@example.org" in page.words
    assert [card["id"] for card in page.find("article")] == ["workspace-hello", "workspace-jupyter"]
    assert page.find("form", action="/home/workspaces/hello/launch", method="post")


async def test_a_launch_without_scripts_comes_back_home(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    answer = await hers.post("/home/workspaces/hello/launch")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert [job.kind for job in await jobs_of(resources, alice)] == [JobKind.LAUNCH]
    assert Page((await hers.get("/")).text).find("meta", http_equiv="refresh")


async def test_a_launch_with_scripts_answers_the_card_that_follows_it(hers: httpx.AsyncClient) -> None:
    answer = await hers.post("/home/workspaces/hello/launch", headers=HTMX)
    page = Page(answer.text)
    (card,) = page.find("article", id="workspace-hello")
    assert str(card["hx-get"]).startswith("/home/workspaces/hello?job=")
    assert page.find("p", id="said-hello", hx_swap_oob="innerHTML")
    assert page.find("progress", value="0", max="100")
    assert "next in the queue" in answer.text


async def test_a_restart_makes_a_restart(hers: httpx.AsyncClient, resources: Resources, alice: SignedIn) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    await hers.post("/home/workspaces/hello/restart")
    assert [job.kind for job in await jobs_of(resources, alice)] == [JobKind.RESTART]


UNASKABLE = {"nothing/launch": 400, "hello/pause": 400, "hello/stop": 404, "hello/cancel": 400, "hello/launch/x": 404}


@pytest.mark.parametrize(("path", "status"), UNASKABLE.items())
async def test_what_cannot_be_asked_for_is_a_page_that_says_so(hers: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await hers.post(f"/home/workspaces/{path}")
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")


async def test_a_card_is_told_as_soon_as_its_job_moves(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    job = await make_workspace(resources, alice.user, WorkspaceStatus.CREATING, step=JobStep.CREATING)
    assert job is not None
    (card,) = Page((await hers.get("/")).text).find("article", id="workspace-hello")
    following = asyncio.create_task(hers.get(str(card["hx-get"]), headers=HTMX))
    _, waiting = await asyncio.wait({following}, timeout=0.3)
    assert waiting
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).values(step=JobStep.PROBING, version=Job.version + 1))
        announce(session, job.id)
    answer = await asyncio.wait_for(following, SOON)
    assert "Waiting for its first answer" in answer.text
    assert Page(answer.text).find("p", id="said-hello")


async def test_a_pull_shows_its_bytes_and_tells_a_step_once(
    app: FastAPI, resources: Resources, alice: SignedIn
) -> None:
    detail = "12.4 of 80.1 MB"
    await make_workspace(resources, alice.user, WorkspaceStatus.PULLING, step=JobStep.PULLING, detail=detail)
    async with make_browser(app, alice, locale="de") as browser:
        (card,) = Page((await browser.get("/")).text).find("article", id="workspace-hello")
        answer = await browser.get(f"{card['hx-get']}&wait=0", headers=HTMX)
    assert "12,4 von 80,1 MB" in answer.text
    assert not Page(answer.text).find("p", id="said-hello")


async def test_a_launch_ends_as_a_card_that_opens(
    hers: httpx.AsyncClient, worker: TestWorker, resources: Resources
) -> None:
    await hers.post("/home/workspaces/hello/launch", headers=HTMX)
    await worker.drain()
    answer = await hers.get("/home/workspaces/hello", headers=HTMX)
    page = Page(answer.text)
    (link,) = page.find("a", href="/open/alice-hello")
    assert (link["target"], link["rel"]) == ("_blank", "noopener")
    assert "data-follow" not in page.find("article")[0]
    assert page.find("form", action="/home/workspaces/hello/restart")


async def test_a_failure_shows_the_remedy_and_another_try(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.ERROR, error_code="image_missing")
    answer = await hers.get("/")
    assert "Ask your operator to build or pull it." in answer.text
    assert "Launch again" in answer.text


async def test_a_strangers_job_cannot_be_followed(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    bob = await sign_in(resources, "bob")
    job = await make_workspace(resources, bob.user, WorkspaceStatus.CREATING, step=JobStep.CREATING)
    assert job is not None
    answers = [
        await hers.get(f"/home/workspaces/hello?job={job_id}&seen=%221%22&wait=0", headers=HTMX)
        for job_id in (job.id, uuid4())
    ]
    assert [answer.status_code for answer in answers] == [404, 404]


async def test_a_session_that_ended_leads_to_the_form(browser: httpx.AsyncClient) -> None:
    polled = await browser.get("/home/workspaces/hello", headers=HTMX)
    assert (polled.status_code, polled.headers["hx-redirect"]) == (401, "/sign-in")
    posted = await browser.post("/home/workspaces/hello/launch")
    assert (posted.status_code, posted.headers["location"]) == (303, "/sign-in")
