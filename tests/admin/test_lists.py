"""The admins' lists over full tables."""

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.resources import Resources
from tests.support.factories import SignedIn
from tests.support.filled import fill
from tests.support.plans import executed, scanned_with

LISTS = ["users", "workspaces", "jobs", "audit"]


@pytest.mark.parametrize("name", LISTS)
async def test_a_page_reads_no_table_that_grows_as_a_whole(
    name: str, client: httpx.AsyncClient, resources: Resources, owner: AsyncEngine, root: SignedIn
) -> None:
    await fill(owner, users=20_000, jobs=1)
    with executed(resources.engine) as statements:
        assert (await client.get(f"/api/admin/{name}", headers=root.headers)).status_code == 200
    assert statements
    for sql, values in statements:
        assert await scanned_with(owner, sql, values) == set(), sql
