"""The same work in an empty installation and in a full one: no cost may grow with what is at rest."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg

from app.resources import open_resources
from bench.accounts import Account, sign_in_many
from bench.client import Client
from bench.gateway import Visited, gateway_port, visit
from bench.launcher import Launcher, require
from bench.table import Failed, Row, figure, median, times_floor
from tests.support.stack import RunningStack
from workers.context import open_context
from workers.loops.reconcile import reconcile_engine, reconcile_rows

USERS, WORKSPACES, JOBS = 100_000, 20_000, 1_000_000
MOST = 1.3
START_SECONDS = 90
READS, LISTS, LAUNCHES, PASSES, STARTS = 150, 20, 8, 5, 3
LISTED = {
    "admin list of users": "/api/admin/users",
    "admin search of users": "/api/admin/users?search=filled777",
    "admin list of jobs": "/api/admin/jobs",
    "admin list of workspaces": "/api/admin/workspaces",
    "admin list of the audit trail": "/api/admin/audit",
}
# The tables of people and workspaces, in one go each.
FILL = (
    # The rows are consistent: checking each reference a million times would measure nothing but patience.
    "SET session_replication_role = replica",
    "SET synchronous_commit = off",
    "SET maintenance_work_mem = '256MB'",
    f"""INSERT INTO users (id, email, slug, state, is_admin, created_at)
    SELECT gen_random_uuid(), 'filled' || n || '@example.org', 'filled' || n, 'active', false,
      now() - n * '1 s'::interval
    FROM generate_series(1, {USERS}) n""",
    f"""INSERT INTO workspaces (id, user_id, template, generation, incarnation, wanted, status, status_at, created_at,
      restarts)
    SELECT gen_random_uuid(), id, 'hello', {JOBS // WORKSPACES}, 1, 'stopped', 'stopped', now(), created_at, 0
    FROM users WHERE slug LIKE 'filled%' LIMIT {WORKSPACES}""",
)
FILL_JOBS = f"""
    INSERT INTO jobs (id, workspace_id, user_id, template, kind, platform, generation, was, touched, state, step,
      progress, version, attempts, run_at, deadline, created_at, started_at, finished_at)
    SELECT gen_random_uuid(), w.id, w.user_id, 'hello', 'launch', false, n, 'stopped', true, 'succeeded', 'ready',
      100, 6, 1, at, at, at, at, at + '1 s'::interval
    FROM workspaces w, generate_series(1, {JOBS // WORKSPACES}) n,
      LATERAL (SELECT now() - '1 day'::interval - n * '1 h'::interval - random() * '1 h'::interval AS at) t
    WHERE w.generation = {JOBS // WORKSPACES}"""


async def filled(stack: RunningStack) -> AsyncIterator[Row]:
    """Measure, fill the tables, measure again."""
    async with open_resources(stack.load_settings()) as resources, Client(stack.public_url) as client:
        (admin,) = await sign_in_many(resources, "admin", 1, is_admin=True)
        accounts = await sign_in_many(resources, "owner", 1 + 2 * (LAUNCHES + 1))
        (launch,) = require([await Launcher(client, accounts).run()])
        launcher = Launcher(client, accounts)
        visited = await visit(stack, resources, launch.account)
        measure = _Measure(stack, client, launcher, admin, launch.account, launch.posted.json()["status_url"], visited)
        empty = await measure.all()
        began = time.perf_counter()
        await fill(stack)
        yield figure(f"{USERS:,} users, {JOBS:,} jobs, {WORKSPACES:,} workspaces written in", _since(began) / 1000, "s")
        full = await measure.all()
        for what, milliseconds in full.items():
            yield times_floor(f"{what}; floor: empty installation", milliseconds, empty[what], MOST)


async def fill(stack: RunningStack) -> None:
    """Write the rows, as the role that owns the tables."""
    url = stack.services.database_owner_url.replace("+asyncpg", "")
    connection = await asyncpg.connect(url)
    try:
        # Writing an index as a whole takes a third of the time of a million entries.
        indexes = await connection.fetch("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'jobs'")
        indexes = [index for index in indexes if index["indexname"] != "pk_jobs"]
        drop = f"DROP INDEX {', '.join(index['indexname'] for index in indexes)}"
        for statement in (*FILL, drop, FILL_JOBS, *(index["indexdef"] for index in indexes), "VACUUM ANALYZE"):
            await connection.execute(statement, timeout=120)
    finally:
        await connection.close()


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


class _Measure:
    """Medians in milliseconds, each kind of work after one that does not count."""

    def __init__(
        self,
        stack: RunningStack,
        client: Client,
        launcher: Launcher,
        admin: Account,
        owner: Account,
        job: str,
        visited: Visited,
    ) -> None:
        self._stack, self._client, self._launcher = stack, client, launcher
        self._admin, self._owner, self._job, self._visited = admin, owner, job, visited

    async def all(self) -> dict[str, float]:
        """Every kind of work."""
        found = {"start-up of an API process": await self._times(self._start, STARTS)}
        found["poll of a job"] = await self._reads(self._client, self._job, self._owner.headers, READS)
        found["decision of the gateway"] = await self._decisions()
        found["POST launch"] = await self._posts()
        async with open_context(self._stack.load_settings()) as context:
            found["reconcile pass, rows"] = await self._times(lambda: reconcile_rows(context), PASSES)
            found["reconcile pass, engine"] = await self._times(lambda: reconcile_engine(context), PASSES)
        for what, path in LISTED.items():
            found[what] = await self._reads(self._client, path, self._admin.headers, LISTS)
        return found

    async def _times(self, work: Callable[[], Awaitable[object]], count: int) -> float:
        await work()
        found = []
        for _ in range(count):
            began = time.perf_counter()
            await work()
            found.append(_since(began))
        return median(found)

    async def _start(self) -> None:
        """Until the process that took the place of a killed one is ready."""
        await asyncio.to_thread(self._stack.restart_part, "api")
        async with asyncio.timeout(START_SECONDS):
            while (await self._client.ask("GET", "/readyz")).status != 200:
                await asyncio.sleep(0.02)

    async def _reads(self, client: Client, path: str, headers: dict[str, str], count: int) -> float:
        found = []
        for _ in range(count + 1):
            answer = await client.ask("GET", path, headers)
            if answer.status != 200:
                raise Failed(f"GET {path} answered {answer.status} {answer.code or answer.error}")
            found.append(answer.milliseconds)
        return median(found[1:])

    async def _decisions(self) -> float:
        async with Client(f"http://127.0.0.1:{gateway_port(self._stack)}") as client:
            lines = self._visited.question().split("\r\n")[2:-2]
            headers = dict(line.split(": ", 1) for line in lines)
            return await self._reads(client, "/internal/gateway", headers, READS)

    async def _posts(self) -> float:
        launches = [require([await self._launcher.run()])[0] for _ in range(LAUNCHES + 1)]
        await self._launcher.clean()
        return median([launch.posted.milliseconds for launch in launches[1:]])
