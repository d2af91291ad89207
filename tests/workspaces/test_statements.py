"""What a launch costs the database.

Counted is every statement of the request, finding out who calls included; BEGIN and COMMIT are not. The request is the
session's first within its minute: writing down that a session was used is one statement a minute, after the answer.
"""

import httpx
import pytest

from app.resources import Resources
from tests.conftest import TestWorker
from tests.support.factories import SignedIn, sign_in
from tests.support.seats import fill, want
from tests.support.statements import counted

MOST = 7
# With the claim, and the status that the seat brings along; with the volume's row where the template has one.
MOST_WARM = {"hello": 9, "jupyter": 10}


async def launch(client: httpx.AsyncClient, resources: Resources, who: SignedIn) -> tuple[httpx.Response, list[str]]:
    async with counted(resources.engine, resources.reader) as statements:
        answer = await client.post("/api/container/launch/hello", headers=who.headers)
    return answer, statements


@pytest.mark.parametrize("others", [0, 30])
async def test_a_launch_costs_seven_statements_however_many_wait(
    client: httpx.AsyncClient, resources: Resources, others: int
) -> None:
    for number in range(others):
        await launch(client, resources, await sign_in(resources, f"other{number}"))
    answer, statements = await launch(client, resources, await sign_in(resources))
    assert answer.json()["job"]["position"] == others + 1
    assert len(statements) <= MOST, "\n".join(statements)


async def test_a_launch_of_what_was_stopped_costs_no_more(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, alice: SignedIn
) -> None:
    await launch(client, resources, alice)
    await worker.drain()
    await client.post("/api/container/hello/stop", headers=alice.headers)
    await worker.drain()
    answer, statements = await launch(client, resources, alice)
    assert answer.status_code == 202
    assert len(statements) <= MOST, "\n".join(statements)


async def test_a_launch_that_joins_another_or_has_nothing_to_do_costs_no_more(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, alice: SignedIn
) -> None:
    await launch(client, resources, alice)
    joined, statements = await launch(client, resources, alice)
    assert joined.status_code == 202
    assert len(statements) <= MOST, "\n".join(statements)
    await worker.drain()
    running, statements = await launch(client, resources, alice)
    assert running.status_code == 200
    assert len(statements) <= MOST, "\n".join(statements)


@pytest.mark.parametrize("template", MOST_WARM)
async def test_a_warm_launch_costs_a_claim_more(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, alice: SignedIn, template: str
) -> None:
    want(resources, 1, template)
    await fill(resources, worker)
    async with counted(resources.engine, resources.reader) as statements:
        answer = await client.post(f"/api/container/launch/{template}", headers=alice.headers)
    assert (answer.status_code, answer.json()["status"]) == (202, "running")
    assert len(statements) <= MOST_WARM[template], "\n".join(statements)


async def test_no_statement_of_a_launch_takes_a_lock_that_all_share(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    _, statements = await launch(client, resources, alice)
    assert not [one for one in statements if "advisory" in one]
