"""Spending a mailed link: one at a time, and a hundred in one instant. Each sign-in launches the default workspace."""

import asyncio
from collections.abc import AsyncIterator

from app.resources import Resources, open_resources
from bench.client import Answer, Client
from bench.launcher import until_quiet
from bench.table import Failed, Row, at_most, figure, median, none_of, percentile
from tests.support.factories import make_link, make_user
from tests.support.stack import RunningStack

ALONE = 10
AT_ONCE = 100
CLEAN_SECONDS = 60


async def sign_in(stack: RunningStack) -> AsyncIterator[Row]:
    """The launch of each one alone has ended before the next one signs in."""
    async with open_resources(stack.load_settings()) as resources, Client(stack.public_url) as client:
        alone = []
        for number in range(ALONE + 1):
            alone.append(await _verify(client, await _link(resources, f"alone{number}")))
            await until_quiet(resources)
        wrong = [answer for answer in alone if answer.status != 200]
        if wrong:
            raise Failed(f"POST verify answered {wrong[0].status} {wrong[0].code or wrong[0].error}")
        yield at_most(f"POST verify, p50 of {ALONE}", median([answer.milliseconds for answer in alone[1:]]), 25)
        links = [await _link(resources, f"many{number}") for number in range(AT_ONCE)]
        answers = await asyncio.gather(*(_verify(client, link) for link in links))
        refused = [answer for answer in answers if answer.status != 200]
        why = ", ".join(sorted({f"{one.status} {one.code or one.error}" for one in refused}))
        times = [answer.milliseconds for answer in answers]
        yield none_of(f"{AT_ONCE} sign-ins in one instant: refused", len(refused), AT_ONCE, why)
        yield at_most("POST verify among them, p99", percentile(times, 99), 1000)
        yield figure("POST verify among them, p50", median(times), "ms")
        await asyncio.gather(*(_leave(client, answer) for answer in alone + answers))
        await until_quiet(resources, CLEAN_SECONDS)


async def _link(resources: Resources, slug: str) -> str:
    return await make_link(resources, await make_user(resources, slug))


async def _verify(client: Client, token: str) -> Answer:
    return await client.ask("POST", "/api/auth/verify", body={"token": token})


async def _leave(client: Client, answer: Answer) -> None:
    """Delete what the sign-in has launched."""
    headers = {"Authorization": f"Bearer {answer.json().get('access_token', '')}"}
    await client.ask("DELETE", "/api/container/hello", headers)
