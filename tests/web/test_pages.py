"""What holds for every page: both languages, the strict policy, and no surprise for who is not signed in."""

import re
from datetime import timedelta
from typing import get_args

import httpx
import pytest
from fastapi import FastAPI

from app.catalog.images import image_key
from app.models import Image, JobKind, JobStep, UserState, WorkspaceStatus, utcnow
from app.resources import Resources
from app.web.messages import pages as texts
from app.web.rendering import FOLDER
from app.workspaces.errors import CAPACITY
from app.workspaces.idle import Ahead
from tests.support.browsers import Page, make_browser, make_workspace
from tests.support.factories import SignedIn, make_user, sign_in
from tests.support.pages import check_languages, check_policy

STATES = (
    "new",
    "running",
    "outdated",
    "paused",
    "idle",
    "stopped",
    "ending",
    "warned",
    "failed",
    "pulling",
    "queued",
    "waiting",
    "died",
    "stopping",
    "deleting",
    "building",
    "broken",
)
ENTERED = ("running", "outdated", "paused", "idle", "warned")
VISITED = {
    "sign in": ("GET", "/sign-in", 200),
    "bad address": ("POST", "/sign-in", 400),
    "check mail": ("GET", "/check-mail", 200),
    "confirm": ("GET", "/auth/confirm", 200),
    "not found": ("GET", "/nowhere", 404),
}


async def put(resources: Resources, state: str) -> SignedIn:
    """Alice with workspaces that show one state of home and of the page before a workspace."""
    user = await make_user(resources, state=UserState.VERIFIED if state == "new" else UserState.ACTIVE)
    who = await sign_in(resources, user)
    match state:
        case "running" | "paused" | "stopped":
            await make_workspace(resources, user, WorkspaceStatus(state))
        case "outdated":
            async with resources.unit_of_work() as session:
                session.add(Image(name=resources.catalog.default.image, digest="newer"))
            await make_workspace(resources, user, WorkspaceStatus.RUNNING, image_digest="older")
            await make_workspace(resources, user, WorkspaceStatus.RUNNING, template="jupyter")
        case "idle":
            await make_workspace(resources, user, WorkspaceStatus.PAUSED, rest_reason="idle_pause")
        case "ending":
            await make_workspace(resources, user, WorkspaceStatus.STOPPED, rest_reason="max_lifetime")
        case "warned":
            await make_workspace(resources, user, WorkspaceStatus.RUNNING)
            past = utcnow() - timedelta(minutes=57)
            running = WorkspaceStatus.RUNNING
            await make_workspace(resources, user, running, template="jupyter", started_at=past, active_at=past)
        case "failed":
            await make_workspace(resources, user, WorkspaceStatus.ERROR, error_code="exited", exit_code=3)
        case "waiting":
            waits = {"blocked_by": "capacity_memory", "admitted_at": None}
            await make_workspace(resources, user, WorkspaceStatus.QUEUED, step=JobStep.QUEUED, job=waits)
        case "died":
            await make_workspace(resources, user, WorkspaceStatus.QUEUED, step=JobStep.QUEUED, job={"by_system": True})
        case "stopping" | "deleting":
            values = {"kind": JobKind.STOP if state == "stopping" else JobKind.DELETE, "by_system": True}
            await make_workspace(resources, user, WorkspaceStatus(state), step=JobStep(state), job=values)
        case "pulling":
            detail = "12.4 of 80.1 MB"
            await make_workspace(resources, user, WorkspaceStatus.PULLING, step=JobStep.PULLING, detail=detail)
        case "queued":
            await make_workspace(resources, user, WorkspaceStatus.QUEUED, step=JobStep.QUEUED)
        case "building" | "broken":
            image = resources.catalog.default.image
            await resources.redis.set(
                image_key(resources.settings.instance, image), "building" if state == "building" else "failed"
            )
    return who


@pytest.mark.parametrize("name", VISITED)
async def test_a_public_page_speaks_both_languages_within_the_policy(app: FastAPI, name: str) -> None:
    method, path, status = VISITED[name]
    answers = []
    for locale in ("en", "de"):
        async with make_browser(app, locale=locale) as browser:
            data = {"email": "no address"} if method == "POST" else None
            answers.append(await browser.request(method, path, data=data))
    assert [answer.status_code for answer in answers] == [status, status]
    check_languages(*answers)


@pytest.mark.parametrize(
    ("path", "state"),
    [
        *(("/", state) for state in STATES),
        *(("/home/workspaces/hello", state) for state in STATES),
        # A workspace that lives is entered, not shown.
        *(("/open/alice-hello", state) for state in STATES if state not in ENTERED),
    ],
)
async def test_a_workspace_speaks_both_languages_in_every_state(
    app: FastAPI, resources: Resources, path: str, state: str
) -> None:
    who = await put(resources, state)
    answers = []
    for locale in ("en", "de"):
        async with make_browser(app, who, locale=locale) as browser:
            answers.append(await browser.get(path))
    assert [answer.status_code for answer in answers] == [200, 200]
    if path.startswith("/home"):
        assert all(not check_policy(answer).find("html") for answer in answers)
    else:
        check_languages(*answers)


def test_templates_and_texts_name_the_same_sentences() -> None:
    sources = "".join(path.read_text() for path in [*(FOLDER / "templates").iterdir(), *FOLDER.glob("*.py")])
    plain = set(re.findall(r"""\bt\(\s*['"](\w+)['"]""", sources))
    plain |= set(re.findall(r'else t\("(\w+)"', sources)) | set(re.findall(r'say\(locale, "(\w+)"', sources))
    counted = set(re.findall(r'counted\((?:locale, )?"(\w+)"', sources))
    used = plain | counted | {f"{name}_one" for name in counted}
    assert used == set(texts.PAGE)


@pytest.mark.parametrize("name", [*texts.PAGE])
def test_a_sentence_fills_the_same_places_in_both_languages(name: str) -> None:
    text = texts.PAGE[name]
    assert re.findall(r"{\w+}", text.en) == re.findall(r"{\w+}", text.de)


def test_every_status_step_and_limit_has_words() -> None:
    assert set(texts.STATUSES) == set(WorkspaceStatus)
    assert set(texts.STEPS) == set(JobStep)
    assert set(texts.WAITS) == set(CAPACITY)
    assert set(texts.AHEAD) == set(get_args(Ahead))


async def test_files_are_kept_by_browsers_under_the_hash_of_their_content(browser: httpx.AsyncClient) -> None:
    page = Page((await browser.get("/sign-in")).text)
    links = [str(link["href"]) for link in page.find("link")]
    assert len(links) == 3
    for link in links:
        answer = await browser.get(link)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    bare = await browser.get(links[0].partition("?")[0])
    assert bare.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/static/../router.py", "/static/%2e%2e/router.py", "/static/nothing.css"])
async def test_files_outside_the_folder_are_not_served(browser: httpx.AsyncClient, path: str) -> None:
    assert (await browser.get(path)).status_code == 404


async def test_pages_are_not_kept(hers: httpx.AsyncClient) -> None:
    assert (await hers.get("/")).headers["cache-control"] == "no-store"


async def test_pages_stay_out_of_the_api_document(browser: httpx.AsyncClient) -> None:
    paths = (await browser.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if path.startswith(("/open", "/sign", "/home", "/auth", "/check"))]
    assert "/" not in paths


async def test_a_program_gets_the_problem_document_where_a_person_gets_a_page(browser: httpx.AsyncClient) -> None:
    program = await browser.get("/nowhere", headers={"Accept": "application/json"})
    api = await browser.get("/api/nowhere")
    for answer in (program, api):
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_failure_shows_its_id_and_no_cause(app: FastAPI) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("a secret cause")

    async with make_browser(app) as browser:
        answer = await browser.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.text
    assert "secret" not in answer.text
    check_policy(answer)


def test_vendored_files_come_with_their_licences() -> None:
    vendor = FOLDER / "static" / "vendor"
    assert {path.name.split("-")[0].split(".")[0] for path in vendor.iterdir()} == {"htmx", "pico"}
    assert len([path for path in vendor.iterdir() if "LICENSE" in path.name]) == 2
