"""Home: stopping, deleting, cancelling, what is refused, and why something waits, rests or failed."""

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from app.models import (
    EngineCapacity,
    Image,
    JobKind,
    JobState,
    JobStep,
    Volume,
    Workspace,
    WorkspaceStatus,
    utcnow,
)
from app.resources import Resources
from app.workspaces import idle
from tests.conftest import TestWorker
from tests.support.browsers import Page, make_browser, make_workspace
from tests.support.driving import admit_waiting
from tests.support.factories import SignedIn, sign_in
from tests.support.pages import HTMX, PATH, forms, jobs_of, workspace_of


async def run(hers: httpx.AsyncClient, worker: TestWorker, template: str = "hello") -> None:
    """Launch, and wait until it runs."""
    await hers.post(f"/home/workspaces/{template}/launch")
    await worker.drain()


@pytest.mark.parametrize(
    ("status", "offered"),
    [
        (WorkspaceStatus.NOT_CREATED, {"launch"}),
        (WorkspaceStatus.RUNNING, {"stop", "restart", "delete"}),
        (WorkspaceStatus.PAUSED, {"stop", "restart", "delete"}),
        (WorkspaceStatus.STOPPED, {"launch", "restart", "delete"}),
        (WorkspaceStatus.ERROR, {"launch", "restart", "delete"}),
    ],
)
async def test_a_card_offers_what_its_state_allows(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn, status: WorkspaceStatus, offered: set[str]
) -> None:
    await make_workspace(resources, alice.user, status, error_code="exited" if status == "error" else None)
    assert forms((await hers.get("/")).text) == offered


@pytest.mark.parametrize(
    ("status", "kind", "offered"),
    [
        (WorkspaceStatus.STARTING, JobKind.LAUNCH, {"cancel"}),
        (WorkspaceStatus.QUEUED, JobKind.RESTART, {"cancel"}),
        (WorkspaceStatus.STOPPING, JobKind.STOP, set()),
        (WorkspaceStatus.DELETING, JobKind.DELETE, set()),
    ],
)
async def test_while_a_job_lives_a_card_offers_to_cancel_launches_alone(
    hers: httpx.AsyncClient,
    resources: Resources,
    alice: SignedIn,
    status: WorkspaceStatus,
    kind: JobKind,
    offered: set[str],
) -> None:
    await make_workspace(resources, alice.user, status, step=JobStep.CLAIMED, job={"kind": kind})
    assert forms((await hers.get("/")).text) == offered


async def test_stopping_ends_as_a_card_that_starts_again(
    hers: httpx.AsyncClient, worker: TestWorker, resources: Resources, alice: SignedIn
) -> None:
    await run(hers, worker)
    stopping = await hers.post(f"{PATH}/stop", headers=HTMX)
    assert "Stopping" in stopping.text
    assert Page(stopping.text).find("article")[0]["hx-get"]
    await worker.drain()
    stopped = await hers.get(PATH, headers=HTMX)
    assert "Start again" in stopped.text
    await run(hers, worker)
    assert (await workspace_of(resources, alice)).status == WorkspaceStatus.RUNNING


async def test_a_restart_is_begun_from_stopped_too(
    hers: httpx.AsyncClient, worker: TestWorker, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.STOPPED)
    answer = await hers.post(f"{PATH}/restart", headers=HTMX)
    assert forms(answer.text) == {"cancel"}


@pytest.mark.parametrize("files", ["keep", "delete"])
async def test_deleting_takes_the_choice_about_the_files(
    hers: httpx.AsyncClient, worker: TestWorker, resources: Resources, alice: SignedIn, files: str
) -> None:
    await run(hers, worker, "jupyter")
    page = Page((await hers.get("/")).text)
    radios = page.find("input", type="radio", name="files")
    assert [(radio["value"], "checked" in radio) for radio in radios] == [("keep", True), ("delete", False)]
    assert any("30 days" in word for word in page.words)
    answer = await hers.post("/home/workspaces/jupyter/delete", data={"files": files}, headers=HTMX)
    assert "Deleting" in answer.text
    await worker.drain()
    assert (await workspace_of(resources, alice, "jupyter")).status == WorkspaceStatus.NOT_CREATED
    async with resources.unit_of_work() as session:
        volume = (await session.scalars(select(Volume))).one_or_none()
    if files == "keep":
        assert volume is not None
        assert volume.delete_at is not None
        assert (volume.delete_at - utcnow()).days == 29
    else:
        assert volume is not None
        assert volume.delete_at is not None
        assert volume.delete_at <= utcnow()


async def test_no_other_change_touches_the_files(
    hers: httpx.AsyncClient, worker: TestWorker, resources: Resources
) -> None:
    await run(hers, worker, "jupyter")
    for kind in ("stop", "restart", "launch"):
        await hers.post(f"/home/workspaces/jupyter/{kind}", data={"files": "delete"})
    async with resources.unit_of_work() as session:
        assert (await session.scalars(select(Volume.delete_at))).one() is None


async def test_a_template_that_keeps_nothing_asks_nothing_about_files(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    answer = await hers.get("/")
    assert not Page(answer.text).find("input", name="files")
    assert "This cannot be undone." in answer.text


@pytest.mark.parametrize(("template", "stays"), [("hello", "It keeps no files"), ("jupyter", "Its files are kept")])
async def test_stop_says_what_stays_by_the_template(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn, template: str, stays: str
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING, template=template)
    answer = await hers.get("/")
    assert Page(answer.text).find("form", action=f"/home/workspaces/{template}/stop")
    assert stays in answer.text
    assert ("Its files are kept" in answer.text) is (template == "jupyter")


async def test_what_is_not_a_choice_deletes_nothing(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING, template="jupyter")
    answer = await hers.post("/home/workspaces/jupyter/delete", data={"files": "perhaps"})
    assert answer.status_code == 400
    assert await jobs_of(resources, alice) == []


async def test_cancelling_gives_a_launch_up(
    hers: httpx.AsyncClient, resources: Resources, worker: TestWorker, alice: SignedIn
) -> None:
    launched = await hers.post(f"{PATH}/launch", headers=HTMX)
    (field,) = Page(launched.text).find("input", name="job")
    cancelled = await hers.post(f"{PATH}/cancel", data={"job": field["value"]}, headers=HTMX)
    assert forms(cancelled.text) == {"launch"}
    assert Page(cancelled.text).find("p", id="said-hello")
    await worker.drain()
    assert [job.state for job in await jobs_of(resources, alice)] == [JobState.CANCELLED]


async def test_cancelling_without_scripts_comes_back_home(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await hers.post(f"{PATH}/launch")
    (job,) = await jobs_of(resources, alice)
    answer = await hers.post(f"{PATH}/cancel", data={"job": str(job.id)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_a_strangers_job_cannot_be_cancelled(hers: httpx.AsyncClient, resources: Resources) -> None:
    bob = await sign_in(resources, "bob")
    job = await make_workspace(resources, bob.user, WorkspaceStatus.STARTING, step=JobStep.STARTING)
    assert job is not None
    answer = await hers.post(f"{PATH}/cancel", data={"job": str(job.id)})
    assert answer.status_code == 404
    assert [row.state for row in await jobs_of(resources, bob)] == [JobState.RUNNING]


async def test_a_stop_that_has_begun_says_on_its_card_that_it_is_too_late(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    values = {"kind": JobKind.STOP, "engine_contacted": True, "previous_status": WorkspaceStatus.RUNNING}
    job = await make_workspace(resources, alice.user, WorkspaceStatus.STOPPING, step=JobStep.STOPPING, job=values)
    assert job is not None
    answer = await hers.post(f"{PATH}/cancel", data={"job": str(job.id)}, headers=HTMX)
    assert answer.status_code == 200
    assert "cannot be cancelled" in answer.text


async def limit(resources: Resources, who: SignedIn, count: int) -> None:
    """The user may have so many workspaces at once, and one that is not hello runs."""
    await make_workspace(resources, who.user, WorkspaceStatus.RUNNING, template="jupyter")
    async with resources.unit_of_work() as session:
        await session.execute(update(Workspace).values(reserved_memory=1, reserved_cpus=0.1))
        user = await session.merge(who.user)
        user.running_limit = count


async def test_a_quota_is_told_on_the_card_that_it_refused(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await limit(resources, alice, 1)
    answer = await hers.post(f"{PATH}/launch", headers=HTMX)
    page = Page(answer.text)
    assert answer.status_code == 200
    assert [card["id"] for card in page.find("article")] == ["workspace-hello"]
    assert "Stop one of them first." in answer.text
    assert page.find("p", id="said-hello", hx_swap_oob="innerHTML")
    assert forms(answer.text) == {"launch"}
    assert await jobs_of(resources, alice) == []


async def test_a_quota_is_told_without_scripts_on_the_whole_page(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await limit(resources, alice, 1)
    answer = await hers.post(f"{PATH}/launch")
    assert answer.status_code == 409
    assert answer.text.count("Stop one of them first.") == 1
    assert len(Page(answer.text).find("article")) == 2


async def full(resources: Resources) -> None:
    """The engine has less memory than any workspace asks for."""
    async with resources.unit_of_work() as session:
        session.add(EngineCapacity(memory_bytes=1 << 20, cpus=64))


async def test_a_launch_that_waits_says_for_what_and_at_which_place(
    app: FastAPI, resources: Resources, alice: SignedIn
) -> None:
    await full(resources)
    async with make_browser(app, alice) as hers, make_browser(app, alice, locale="de") as ihrer:
        answer = await hers.post(f"{PATH}/launch", headers=HTMX)
        assert await admit_waiting(resources) == 0
        english, german = await hers.get("/"), await ihrer.get("/")
    assert "Other workspaces use all of the server's memory. This one starts as soon as" in " ".join(
        Page(english.text).words
    )
    assert "next in the queue" in answer.text
    assert "sobald jemand einen anderen beendet" in german.text
    assert forms(answer.text) == {"cancel"}


async def test_a_full_queue_is_told_on_the_card(app: FastAPI, hers: httpx.AsyncClient, resources: Resources) -> None:
    await full(resources)
    resources.settings.queue_limit = 0
    answer = await hers.post(f"{PATH}/launch", headers=HTMX)
    assert "Other workspaces use all of the server&#39;s memory. Try again later" in answer.text
    plain = await hers.post(f"{PATH}/launch")
    assert (plain.status_code, plain.headers["retry-after"]) == (503, "30")
    assert len(Page(plain.text).find("article")) == 2


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (WorkspaceStatus.PAUSED, "idle_pause", idle.REASONS[idle.IdleReason.IDLE_PAUSE].en),
        (WorkspaceStatus.PAUSED, None, "Paused: opening it wakes it."),
        (WorkspaceStatus.STOPPED, "idle_stop", idle.REASONS[idle.IdleReason.IDLE_STOP].en),
        (WorkspaceStatus.STOPPED, "max_lifetime", idle.REASONS[idle.IdleReason.MAX_LIFETIME].en),
    ],
)
async def test_what_the_platform_brought_to_rest_says_why(
    hers: httpx.AsyncClient,
    resources: Resources,
    alice: SignedIn,
    status: WorkspaceStatus,
    code: str | None,
    sentence: str,
) -> None:
    await make_workspace(resources, alice.user, status, rest_reason=code)
    assert sentence in Page((await hers.get("/")).text).words


@pytest.mark.parametrize(
    ("kind", "status", "code", "sentence"),
    [
        (JobKind.PAUSE, WorkspaceStatus.RUNNING, "idle_pause", "Nobody has used it for a while. Opening it wakes it."),
        (JobKind.STOP, WorkspaceStatus.STOPPING, "idle_stop", "Stopped because nobody used it."),
        (JobKind.STOP, WorkspaceStatus.STOPPING, None, "Spawner stops it."),
    ],
)
async def test_what_the_platform_brings_to_rest_says_why_meanwhile(
    hers: httpx.AsyncClient,
    resources: Resources,
    alice: SignedIn,
    kind: JobKind,
    status: WorkspaceStatus,
    code: str | None,
    sentence: str,
) -> None:
    job = {"kind": kind, "by_system": True}
    await make_workspace(resources, alice.user, status, step=JobStep.CLAIMED, job=job, rest_reason=code)
    assert sentence in Page((await hers.get("/")).text).words


async def test_what_the_user_stopped_themselves_gives_no_reason(
    hers: httpx.AsyncClient, resources: Resources, worker: TestWorker
) -> None:
    await run(hers, worker)
    await hers.post(f"{PATH}/stop")
    await worker.drain()
    answer = await hers.get("/")
    assert "Stopped because" not in answer.text


async def test_a_launch_of_the_platforms_says_that_the_workspace_had_died(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.QUEUED, step=JobStep.QUEUED, job={"by_system": True})
    assert "It ended by itself and is being restarted." in (await hers.get("/")).text


async def test_a_paused_workspace_is_opened_as_a_running_one(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.PAUSED)
    (link,) = Page((await hers.get("/")).text).find("a", href="/open/alice-hello")
    assert (link["role"], link["target"], link["rel"]) == ("button", "_blank", "noopener")


async def test_a_newer_image_is_told_of_until_a_restart_has_taken_it(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    hint = "A newer image is available: restart to use it."
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING, image_digest="older")
    assert hint not in (await hers.get("/")).text
    async with resources.unit_of_work() as session:
        session.add(Image(name=resources.catalog.default.image, digest="newer"))
    assert hint in (await hers.get("/")).text
    async with resources.unit_of_work() as session:
        await session.execute(update(Workspace).values(image_digest="newer"))
    assert hint not in (await hers.get("/")).text
