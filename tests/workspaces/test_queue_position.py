"""Who waits for capacity sees place and estimate fall, by polls that know what was said before."""

from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import func, insert, select, update

from app.models import Job, JobKind, utcnow
from app.resources import Resources
from app.workspaces import service
from app.workspaces.views import view_jobs
from tests.conftest import TestWorker
from tests.support.driving import admit_waiting
from tests.support.factories import SignedIn, sign_in
from tests.support.statements import counted

RUNNING, WAITING = 3, 4
WAITED_SECONDS = 60


async def request(resources: Resources, who: SignedIn, kind: JobKind = JobKind.LAUNCH) -> Job:
    async with resources.unit_of_work() as session:
        job = (await service.request(session, resources, who.user, "hello", kind)).job
    assert job is not None
    return job


async def full_server(resources: Resources, worker: TestWorker) -> tuple[list[SignedIn], list[SignedIn], list[Job]]:
    """Return who runs, who has waited for a minute, and their jobs."""
    settings = resources.settings.model_copy(update={"running_limit": RUNNING})
    object.__setattr__(resources, "settings", settings)
    running = [await sign_in(resources, f"running{number}") for number in range(RUNNING)]
    for who in running:
        await request(resources, who)
        await admit_waiting(resources)
        await worker.drain()
    waiting = [await sign_in(resources, f"waiting{number}") for number in range(WAITING)]
    jobs = [await request(resources, who) for who in waiting]
    await admit_waiting(resources)
    async with resources.unit_of_work() as session:
        earlier = Job.created_at - timedelta(seconds=WAITED_SECONDS)
        waits = Job.admitted_at.is_(None) & Job.finished_at.is_(None)
        await session.execute(update(Job).where(waits).values(created_at=earlier))
    return running, waiting, jobs


async def test_place_and_estimate_fall_with_each_launch_that_finds_room(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker
) -> None:
    running, waiting, jobs = await full_server(resources, worker)
    headers, path = waiting[-1].headers, f"/api/jobs/{jobs[-1].id}"
    answer = await client.get(path, headers=headers)
    seen: list[dict[str, Any]] = [answer.json()]
    for leaving in running:
        headers = {**headers, "If-None-Match": answer.headers["etag"]}
        assert (await client.get(path, headers=headers)).status_code == 304
        await request(resources, leaving, JobKind.STOP)
        await worker.drain()
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 200
        seen.append(answer.json())
    assert [job["position"] for job in seen] == [4, 3, 2, 1]
    assert {job["waits_for"] for job in seen} == {"capacity_running"}
    # Until the first was let in, nobody could say. Then each place takes the minute divided by those let in.
    first, *estimates = [job["eta_seconds"] for job in seen]
    assert first is None
    assert estimates[0] >= WAITED_SECONDS * 3
    assert estimates == sorted(estimates, reverse=True)
    assert WAITED_SECONDS / 3 <= estimates[-1] < estimates[0] / 2


async def test_who_comes_to_a_full_server_is_promised_nothing_before_a_pass_has_judged(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker
) -> None:
    await full_server(resources, worker)
    late = await sign_in(resources, "late")
    posted = (await client.post("/api/container/launch/hello", headers=late.headers)).json()["job"]
    assert (posted["position"], posted["waits_for"], posted["eta_seconds"]) == (WAITING + 1, None, None)


async def test_who_is_alone_is_told_at_once_what_a_launch_takes(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker
) -> None:
    for slug in ("first", "second"):
        who = await sign_in(resources, slug)
        posted = (await client.post("/api/container/launch/hello", headers=who.headers)).json()["job"]
        assert posted["position"] == 1
        assert (posted["eta_seconds"] is None) == (slug == "first")
        await admit_waiting(resources)
        await worker.drain()


async def test_only_the_last_ten_that_found_room_make_the_pace(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker
) -> None:
    _, waiting, jobs = await full_server(resources, worker)
    ended = select(func.max(Job.finished_at)).scalar_subquery()
    async with resources.unit_of_work() as session:
        # Twelve that waited were admitted one second after the other, until now.
        (row,) = (await session.execute(select(Job.__table__).where(Job.finished_at == ended))).mappings()
        for number in range(12):
            at = utcnow() - timedelta(seconds=number)
            times = {"admitted_at": at, "created_at": at - timedelta(seconds=30), "finished_at": at}
            made = {**row, **times, "id": func.gen_random_uuid()}
            await session.execute(insert(Job.metadata.tables["jobs"]).values(made))
    answer = await client.get(f"/api/jobs/{jobs[-1].id}", headers=waiting[-1].headers)
    # Nine seconds and what this test took lie between the last ten and now.
    assert answer.json()["position"] == WAITING
    assert 0.9 * WAITING <= answer.json()["eta_seconds"] < WAITED_SECONDS / 12 * WAITING


async def test_a_list_tells_the_same_as_a_poll(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker
) -> None:
    running, waiting, jobs = await full_server(resources, worker)
    await request(resources, running[0], JobKind.STOP)
    await worker.drain()
    poll = (await client.get(f"/api/jobs/{jobs[-1].id}", headers=waiting[-1].headers)).json()
    async with resources.reads() as session:
        job = await session.get_one(Job, jobs[-1].id)
        async with counted(resources.engine, resources.reader) as statements:
            (view,) = await view_jobs(session, resources, [job], "en")
    assert (view.position, poll["position"]) == (3, 3)
    assert view.eta_seconds is not None
    assert poll["eta_seconds"] <= view.eta_seconds < poll["eta_seconds"] + WAITED_SECONDS
    assert len(statements) == 2
