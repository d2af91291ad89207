"""The admins' lists over full tables."""

import re

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.resources import Resources
from tests.support.factories import SignedIn
from tests.support.filled import GROWING, fill
from tests.support.statements import executed, explain


@pytest.mark.parametrize("name", ["users", "workspaces", "jobs", "audit"])
async def test_a_page_reads_no_table_that_grows_from_end_to_end(
    name: str, client: httpx.AsyncClient, resources: Resources, owner: AsyncEngine, root: SignedIn
) -> None:
    await fill(owner, users=5000, jobs=2)
    with executed(resources.engine) as statements:
        assert (await client.get(f"/api/admin/{name}", headers=root.headers)).status_code == 200
    assert statements
    for statement, arguments in statements:
        plan = await explain(resources.engine, statement, arguments)
        assert re.findall(rf"Seq Scan on ({'|'.join(GROWING)})\b", plan) == [], f"{statement}\n{plan}"
