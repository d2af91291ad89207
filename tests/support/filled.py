"""Tables as they are after years: many accounts, workspaces that rest, jobs that ended."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

USERS = """
INSERT INTO users (id, email, slug, state, is_admin, created_at)
SELECT gen_random_uuid(), 'past' || number || '@example.org', 'past' || number, 'active', false, now()
FROM generate_series(1, :users) AS number
"""
WORKSPACES = """
INSERT INTO workspaces (id, user_id, template, generation, incarnation, wanted, status, status_at, restarts, created_at)
SELECT gen_random_uuid(), id, 'hello', 1, 1, 'stopped', 'stopped', now(), 0, now() FROM users WHERE slug LIKE 'past%'
"""
JOBS = """
INSERT INTO jobs (id, workspace_id, user_id, template, kind, platform, generation, was, touched, state, step, progress,
    version, attempts, run_at, deadline, created_at, finished_at)
SELECT gen_random_uuid(), workspace.id, workspace.user_id, 'hello', 'launch', false, 1, 'stopped', true, 'succeeded',
    'ready', 100, 1, 1, at, at, at, at
FROM workspaces AS workspace, generate_series(1, :jobs) AS number,
    LATERAL (SELECT now() - interval '31 days' - number * interval '1 minute' AS at) AS times
WHERE workspace.status = 'stopped'
"""
EVENTS = "INSERT INTO job_events (job_id, at, step) SELECT id, created_at, 'ready' FROM jobs WHERE state = 'succeeded'"
AUDIT = """
INSERT INTO audit (at, actor, action, target_kind, target, outcome, address, request_id)
SELECT now(), 'system', 'workspace_stopped', 'workspace', number::text, 'ok', '', ''
FROM generate_series(1, :users) AS number
"""
# What grows with every account and every launch.
GROWING = ("users", "workspaces", "jobs", "job_events", "audit")


async def fill(owner: AsyncEngine, *, users: int, jobs: int) -> None:
    """Add so many accounts, each with a workspace that is stopped and so many jobs that ended a month ago."""
    async with owner.begin() as connection:
        for statement in (USERS, WORKSPACES, JOBS, EVENTS, AUDIT):
            values = {"users": users, "jobs": jobs}
            await connection.execute(text(statement), {key: values[key] for key in values if f":{key}" in statement})
        await connection.execute(text("ANALYZE"))
