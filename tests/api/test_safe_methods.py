"""What a GET may write: what its own caller's sign-in needs, and nothing else."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from app.resources import Resources
from tests.api.conftest import Scene
from tests.api.operations import ANYBODY, BY_QUERY, OPERATIONS, send_good
from tests.support.waiting import PATIENCE

WRITES = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)(?=\s+SET\b|\s*\(|\s+WHERE\b)")
# When a session or a token was used last.
OWN = {"sessions", "api_tokens"}
# What an admin takes away is written down.
EXPORTS = {"export_audit": {"audit"}, "read_any_log": {"audit"}}
READS = [name for name, one in OPERATIONS.items() if one.method == "GET" and name not in BY_QUERY]
PAGES = [
    *("/", "/sign-in", "/auth/confirm", "/account", "/share", "/open/alice-hello", "/open/alice-hello/progress"),
    *("/home/workspaces/hello", "/home/workspaces/hello/shares"),
]


@contextmanager
def written(resources: Resources) -> Iterator[set[str]]:
    """The tables that statements of this block write to."""
    tables: set[str] = set()

    def note(*arguments: Any) -> None:
        tables.update(WRITES.findall(arguments[2]))

    event.listen(resources.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield tables
    finally:
        event.remove(resources.engine.sync_engine, "before_cursor_execute", note)


async def settled(scene: Scene) -> None:
    """Launch a workspace. A worker that claims late runs a message twice, and one of them may outlast the drain."""
    url = (await scene.launched(run=True))["status_url"]
    async with asyncio.timeout(PATIENCE):
        while (await scene.client.get(url, params={"wait": 5}, headers=scene.alice.headers)).json()[
            "finished_at"
        ] is None:
            pass


@pytest.mark.parametrize("name", READS)
async def test_reading_writes_nothing_but_its_callers_last_use(scene: Scene, name: str) -> None:
    await settled(scene)
    with written(scene.resources) as tables:
        await send_good(scene, name, own=scene.alice.headers if OPERATIONS[name].who is ANYBODY else None)
    assert tables <= OWN | EXPORTS.get(name, set())


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_writes_nothing_but_its_visitors_last_use(scene: Scene, path: str) -> None:
    await settled(scene)
    headers = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}
    scene.client.cookies.update(scene.alice.cookies)
    with written(scene.resources) as tables:
        answer = await scene.client.get(path, headers=headers)
    assert answer.status_code < 500
    assert tables <= OWN


async def test_the_watch_sees_what_is_written(scene: Scene) -> None:
    with written(scene.resources) as tables:
        await scene.launched()
    assert {"workspaces", "jobs", "job_events", "users"} <= tables
