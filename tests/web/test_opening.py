"""The way into a workspace, and back to it after signing in."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import func, select, update

from app.gateway.origin_handoff import MAX_CODES
from app.models import EngineCapacity, Handoff, Job, JobKind, JobState, JobStep, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.security.tokens import new_token
from tests.conftest import TestWorker
from tests.support.browsers import Page, make_workspace
from tests.support.clocks import Time
from tests.support.driving import admit_waiting
from tests.support.factories import SignedIn, sign_in
from tests.support.statements import counted

HTMX = {"HX-Request": "true"}


async def test_a_running_workspace_is_entered_at_its_own_origin(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    state = new_token()
    answer = await hers.get("/open/alice-hello", params={"next": "/lab?x=1", "state": state})
    there = urlsplit(answer.headers["location"])
    assert answer.status_code == 303
    assert (there.netloc, there.path) == ("alice-hello.localhost:8080", "/.spawner/enter")
    query = parse_qs(there.query)
    assert query["next"] == ["/lab?x=1"]
    assert len(query["code"][0]) == 43


async def test_the_way_in_costs_three_statements(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    assert (await hers.get("/open/alice-hello")).status_code == 303
    async with counted(resources.engine, resources.reader) as statements:
        assert (await hers.get("/open/alice-hello", params={"state": new_token()})).status_code == 303
    assert len(statements) <= 3, "\n".join(statements)


async def test_a_browser_that_has_not_been_there_goes_there_first(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    answer = await hers.get("/open/alice-hello")
    assert answer.headers["location"] == "http://alice-hello.localhost:8080/"


NOT_ASKED: list[dict[str, str]] = [
    {"Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Sec-Purpose": "prefetch;prerender"},
    {"Purpose": "prefetch"},
]


async def count_codes(resources: Resources) -> int:
    async with resources.reads() as session:
        return await session.scalar(select(func.count()).select_from(Handoff)) or 0


@pytest.mark.parametrize("headers", NOT_ASKED, ids=str)
async def test_what_nobody_asked_for_writes_nothing(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn, headers: dict[str, str]
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    answer = await hers.get("/open/alice-hello", params={"state": new_token()}, headers=headers)
    assert (answer.status_code, answer.content, "location" in answer.headers) == (204, b"", False)
    assert await count_codes(resources) == 0


async def test_a_visit_writes_a_code_only_for_the_browser_that_can_spend_it_and_not_without_end(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    for state in ({}, {"state": "no token"}):
        assert (await hers.get("/open/alice-hello", params=state)).status_code == 303
    assert await count_codes(resources) == 0
    for _ in range(MAX_CODES):
        assert (await hers.get("/open/alice-hello", params={"state": new_token()})).status_code == 303
    refused = await hers.get("/open/alice-hello", params={"state": new_token()})
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert "This session opened workspaces too often within a minute." in refused.text
    assert await count_codes(resources) == MAX_CODES
    time.pass_(seconds=61)
    assert (await hers.get("/open/alice-hello", params={"state": new_token()})).status_code == 303


async def test_entering_in_a_loop_ends_though_each_code_is_spent(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    for _ in range(MAX_CODES):
        assert (await hers.get("/open/alice-hello", params={"state": new_token()})).status_code == 303
        async with resources.unit_of_work() as session:
            await session.execute(update(Handoff).values(spent_at=utcnow()))
    assert (await hers.get("/open/alice-hello", params={"state": new_token()})).status_code == 429


async def test_codes_that_are_asked_for_at_once_are_no_more_than_one_may_have(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    asked = (hers.get("/open/alice-hello", params={"state": new_token()}) for _ in range(MAX_CODES + 10))
    answers = await asyncio.gather(*asked)
    assert sorted(answer.status_code for answer in answers) == [303] * MAX_CODES + [429] * 10


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example", "/../bob-hello/"])
async def test_a_path_that_leads_out_of_the_workspace_is_dropped(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn, path: str
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    answer = await hers.get("/open/alice-hello", params={"next": path})
    assert answer.headers["location"] == "http://alice-hello.localhost:8080/"


async def test_a_strangers_workspace_looks_like_one_that_does_not_exist(
    hers: httpx.AsyncClient, resources: Resources
) -> None:
    bob = await sign_in(resources, "bob")
    await make_workspace(resources, bob.user, WorkspaceStatus.RUNNING)
    paths = ["/open/bob-hello", "/open/nobody-hello", "/open/alice-nothing", "/open/alice", "/open/ALICE-hello"]
    answers = [await hers.get(path) for path in paths]
    assert [answer.status_code for answer in answers] == [404] * len(paths)
    assert len({answer.text for answer in answers}) == 1
    for path in paths[:2]:
        assert (await hers.post(path)).status_code == 404
        assert (await hers.get(f"{path}/progress", headers=HTMX)).status_code == 404


async def test_a_stopped_workspace_is_started_and_then_entered(
    hers: httpx.AsyncClient, resources: Resources, worker: TestWorker
) -> None:
    shown = Page((await hers.get("/open/alice-hello?next=/lab")).text)
    (form,) = shown.find("form", action="/open/alice-hello?next=%2Flab", method="post")
    started = Page((await hers.post(str(form["hx-post"]), headers=HTMX)).text)
    (panel,) = started.find("div", id="panel")
    assert str(panel["hx-get"]).startswith("/open/alice-hello/progress?job=")
    await worker.drain()
    arrived = await hers.get(str(panel["hx-get"]), headers=HTMX)
    assert arrived.headers["hx-redirect"] == "/open/alice-hello?next=%2Flab"
    entered = await hers.get(arrived.headers["hx-redirect"])
    assert entered.headers["location"] == "http://alice-hello.localhost:8080/lab"


async def test_starting_without_scripts_shows_a_page_that_looks_again(hers: httpx.AsyncClient) -> None:
    answer = await hers.post("/open/alice-hello")
    page = Page(answer.text)
    assert answer.status_code == 200
    assert page.find("meta", http_equiv="refresh")
    assert page.find("progress")


async def test_a_paused_workspace_is_entered_and_wakes_at_its_own_origin(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.PAUSED)
    entered = await hers.get("/open/alice-hello?next=/lab")
    assert (entered.status_code, entered.headers["location"]) == (303, "http://alice-hello.localhost:8080/lab")
    followed = await hers.get("/open/alice-hello/progress", headers=HTMX)
    assert followed.headers["hx-redirect"] == "/open/alice-hello"


@pytest.mark.parametrize(
    ("status", "kind"), [(WorkspaceStatus.STOPPING, JobKind.STOP), (WorkspaceStatus.DELETING, JobKind.DELETE)]
)
async def test_what_is_on_its_way_out_is_waited_for_and_then_offered_to_start(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn, status: WorkspaceStatus, kind: JobKind
) -> None:
    await make_workspace(resources, alice.user, status, step=JobStep(status), job={"kind": kind})
    answer = await hers.get("/open/alice-hello")
    assert "In a moment you can start it again." in answer.text
    assert "this page takes you there" not in answer.text
    (panel,) = Page(answer.text).find("div", id="panel")
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).values(state=JobState.SUCCEEDED, version=Job.version + 1))
        await session.execute(update(Workspace).values(status=WorkspaceStatus.STOPPED))
    ended = Page((await hers.get(str(panel["hx-get"]), headers=HTMX)).text)
    assert ended.find("form", action="/open/alice-hello", method="post")


async def test_waiting_for_room_says_for_what(hers: httpx.AsyncClient, resources: Resources) -> None:
    async with resources.unit_of_work() as session:
        session.add(EngineCapacity(memory_bytes=1 << 20, cpus=64))
    await hers.post("/open/alice-hello", headers=HTMX)
    assert await admit_waiting(resources) == 0
    answer = await hers.get("/open/alice-hello", headers=HTMX)
    assert "Other workspaces use all of the server&#39;s memory" in answer.text
    assert Page(answer.text).find("progress")


async def test_what_is_refused_is_said_on_the_page_before_the_workspace(
    hers: httpx.AsyncClient, resources: Resources
) -> None:
    async with resources.unit_of_work() as session:
        session.add(EngineCapacity(memory_bytes=1 << 20, cpus=64))
    resources.settings.queue_limit = 0
    asked: list[tuple[dict[str, str], int]] = [(HTMX, 200), ({}, 503)]
    for headers, status in asked:
        answer = await hers.post("/open/alice-hello", headers=headers)
        assert answer.status_code == status
        assert "Other workspaces use all of the server&#39;s memory. Try again later" in answer.text
        assert Page(answer.text).find("form", action="/open/alice-hello", method="post")


async def test_starting_what_runs_offers_the_way_in_without_a_redirect(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    answer = await hers.post("/open/alice-hello")
    assert answer.status_code == 200
    assert Page(answer.text).find("a", href="/open/alice-hello", role="button")


@pytest.mark.parametrize("route", ["alice-hello", "nobody-hello", "bob-jupyter"])
async def test_who_is_not_signed_in_learns_nothing_about_names(browser: httpx.AsyncClient, route: str) -> None:
    answer = await browser.get(f"/open/{route}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next=%2Fopen%2F{route}")
