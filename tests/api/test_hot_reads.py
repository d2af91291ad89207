"""What clients ask again and again: how many statements it costs, whatever credential they show."""

from uuid import uuid4

import httpx
import pytest
from sqlalchemy import update

from app.models import Job, JobState, JobStep, User, WorkspaceStatus, utcnow
from app.resources import Resources
from tests.support.browsers import make_workspace
from tests.support.factories import SignedIn, make_token, sign_in
from tests.support.statements import counted

CREDENTIALS = ("access token", "personal token", "cookie")


@pytest.fixture(params=CREDENTIALS)
async def headers(request: pytest.FixtureRequest, resources: Resources, alice: SignedIn) -> dict[str, str]:
    """How alice calls."""
    match request.param:
        case "access token":
            return alice.headers
        case "cookie":
            return {"Cookie": "; ".join(f"{name}={value}" for name, value in alice.both_cookies.items())}
        case _:
            return {"Authorization": f"Bearer {await make_token(resources, alice.user, 'read')}"}


@pytest.fixture
async def job(resources: Resources, alice: SignedIn) -> Job:
    """A queued launch of alice's, behind one of bob's."""
    made = None
    for user in ((await sign_in(resources, "bob")).user, alice.user):
        queued = {"state": JobState.QUEUED}
        made = await make_workspace(resources, user, WorkspaceStatus.QUEUED, step=JobStep.QUEUED, job=queued)
    assert made is not None
    return made


async def cost(client: httpx.AsyncClient, resources: Resources, path: str, headers: dict[str, str], status: int) -> int:
    """Statements of a request that is not its credential's first one of this minute."""
    assert (await client.get(path, headers=headers)).status_code == status
    async with counted(resources.engine, resources.reader) as statements:
        assert (await client.get(path, headers=headers)).status_code == status
    return len(statements)


async def test_a_poll_that_finds_nothing_new_is_one_statement(
    client: httpx.AsyncClient, resources: Resources, headers: dict[str, str], job: Job
) -> None:
    path = f"/api/jobs/{job.id}"
    tag = (await client.get(path, headers=headers)).headers["etag"]
    assert await cost(client, resources, path, {**headers, "If-None-Match": tag}, 304) == 1


async def test_a_first_poll_is_one_statement(
    client: httpx.AsyncClient, resources: Resources, headers: dict[str, str], job: Job
) -> None:
    assert await cost(client, resources, f"/api/jobs/{job.id}", headers, 200) == 1


async def test_a_first_poll_finds_no_job_of_somebody_else(
    client: httpx.AsyncClient, resources: Resources, job: Job
) -> None:
    mallory = await sign_in(resources, "mallory")
    for foreign in (job.id, uuid4()):
        answer = await client.get(f"/api/jobs/{foreign}", headers=mallory.headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_poll_that_finds_something_new_is_two_statements(
    client: httpx.AsyncClient, resources: Resources, headers: dict[str, str], job: Job
) -> None:
    path = f"/api/jobs/{job.id}"
    tag = (await client.get(path, headers=headers)).headers["etag"]
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).where(Job.id == job.id).values(version=Job.version + 1))
    assert await cost(client, resources, path, {**headers, "If-None-Match": tag}, 200) == 2


@pytest.mark.parametrize("path", ["/api/container/status", "/api/user/containers"])
async def test_status_and_list_are_one_statement(
    client: httpx.AsyncClient, resources: Resources, headers: dict[str, str], job: Job, path: str
) -> None:
    assert await cost(client, resources, path, headers, 200) == 1


async def test_one_workspace_is_read_without_the_others(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, job: Job
) -> None:
    assert await cost(client, resources, "/api/container/hello", alice.headers, 200) == 2


async def test_a_poll_that_is_not_plain_is_answered_alike(client: httpx.AsyncClient, alice: SignedIn, job: Job) -> None:
    plain = await client.get(f"/api/jobs/{job.id}", headers=alice.headers)
    for path in (f"/api/jobs/{job.id.hex}", f"/api/jobs/{str(job.id).upper()}", f"/api/jobs/{job.id}?wait=0"):
        other = await client.get(path, headers=alice.headers)
        assert (other.status_code, other.content, other.headers["etag"]) == (200, plain.content, plain.headers["etag"])
    assert plain.json()["position"] == 2


async def test_invalid_polls_are_refused_with_their_fields(
    client: httpx.AsyncClient, alice: SignedIn, job: Job
) -> None:
    refused = [
        ("/api/jobs/none", {}, "id"),
        (f"/api/jobs/{job.id}?wait=31", {}, "wait"),
        (f"/api/jobs/{job.id}?wait=nan", {}, "wait"),
        (f"/api/jobs/{job.id}", {"If-None-Match": "x" * 201}, "If-None-Match"),
    ]
    for path, more, field in refused:
        answer = await client.get(path, headers={**alice.headers, **more})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("path", ["/api/container/status", "/api/user/containers", "/api/jobs/{id}"])
async def test_cookies_that_are_over_are_renewed_on_the_way(
    client: httpx.AsyncClient, alice: SignedIn, job: Job, path: str
) -> None:
    headers = {"Cookie": f"spawner_refresh={alice.refresh}"}
    answer = await client.get(path.format(id=job.id), headers=headers)
    assert answer.status_code == 200
    assert len(answer.headers.get_list("set-cookie")) == 2


@pytest.mark.parametrize("path", ["/api/container/status", "/api/user/containers", "/api/jobs/{id}"])
async def test_what_opens_no_workspace_is_refused(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, job: Job, path: str
) -> None:
    admin = {"Authorization": f"Bearer {await make_token(resources, alice.user, 'admin')}"}
    address = path.format(id=job.id)
    assert (await client.get(address)).json()["code"] == "unauthorized"
    assert (await client.get(address, headers=admin)).json()["code"] == "insufficient_scope"
    async with resources.unit_of_work() as session:
        await session.execute(update(User).values(blocked_at=utcnow()))
    assert (await client.get(address, headers=alice.headers)).json()["code"] == "unauthorized"
