"""Reading across a restart of the database."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from app.core.db import make_engine
from app.core.errors import is_transient
from app.core.reader import PreparedSelect, Reader, Row
from deploy.stack.services import Services, private_services
from tests.support.stack import ROOT
from tests.support.waiting import SOON

OWN_PID = PreparedSelect(select(func.pg_backend_pid()))


@pytest.fixture
def services() -> Iterator[Services]:
    """Servers of this test alone."""
    with private_services(ROOT) as running:
        yield running


async def test_reads_fail_while_the_server_is_away_and_work_once_it_is_back(services: Services) -> None:
    async with AsyncExitStack() as exits:
        reader = Reader(make_engine(services.database_owner_url, pool_size=3), 3)
        exits.push_async_callback(reader.close)
        before = await asyncio.gather(*(reader.fetch(OWN_PID) for _ in range(3)))
        services.children.stop("postgres")
        with pytest.raises((DBAPIError, OSError)) as away:
            await reader.fetch(OWN_PID)
        assert is_transient(away.value)
        services.children.start("postgres")
        after = list[Row]()
        async with asyncio.timeout(SOON):
            while not after:
                await asyncio.sleep(0.05)
                with suppress(DBAPIError, OSError):
                    after = await reader.fetch(OWN_PID)
        assert after not in before
