"""The database itself keeps the audit trail from being changed, whatever the application's role tries."""

from datetime import timedelta

import asyncpg
import pytest
import structlog
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from structlog.testing import capture_logs

from app.audit import trail
from app.audit.db_grants import audit_is_protected, grant, say_whether_protected
from app.models import AuditEntry, utcnow
from app.resources import Resources
from deploy.stack.services import Services
from tests.support.migrating import alembic
from workers.loops.retention import delete_expired


async def write(resources: Resources, *ages: int) -> None:
    """Rows of so many days ago."""
    async with resources.unit_of_work() as session:
        for age in ages:
            trail.record(session, "tested", "day", str(age), actor=trail.SYSTEM)
        for row in session.new:
            row.at = utcnow() - timedelta(days=int(row.target))


async def run(engine: AsyncEngine, *statements: str) -> None:
    """Run statements in one transaction."""
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def left(resources: Resources) -> list[str]:
    async with resources.reads() as session:
        return list(await session.scalars(select(AuditEntry.target).order_by(AuditEntry.id)))


ATTACKS = [
    "UPDATE audit SET actor = 'nobody'",
    "DELETE FROM audit",
    "DELETE FROM audit WHERE at < now() - interval '300 days'",
    "TRUNCATE audit",
    "TRUNCATE audit CASCADE",
    "DROP TABLE audit",
    "ALTER TABLE audit DISABLE TRIGGER ALL",
    "ALTER TABLE audit DISABLE TRIGGER guard_audit",
    "DROP TRIGGER guard_audit ON audit",
    "ALTER TABLE audit RENAME TO gone",
    "ALTER TABLE audit OWNER TO spawner",
    "CREATE RULE nothing AS ON INSERT TO audit DO INSTEAD NOTHING",
    "CREATE TRIGGER nothing BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION guard_audit()",
    "CREATE OR REPLACE FUNCTION prune_audit(days integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "ALTER FUNCTION prune_audit(integer) RESET ALL",
    "CREATE TABLE audit_too (id integer)",
    "SET session_replication_role = replica",
    "SET ROLE postgres",
    "SELECT setval('audit_id_seq', 1)",
    "SELECT id FROM audit FOR UPDATE",
    "MERGE INTO audit USING (SELECT 1) one ON true WHEN MATCHED THEN DELETE",
    "INSERT INTO audit SELECT * FROM audit ON CONFLICT (id) DO UPDATE SET actor = 'nobody'",
    "COPY audit TO PROGRAM 'true'",
]


async def test_the_applications_role_can_add_and_read_and_nothing_else(resources: Resources) -> None:
    await write(resources, 0, 400)
    for attack in ATTACKS:
        with pytest.raises(DBAPIError) as refused:
            # Whatever the trigger looks at, the rights come first.
            await run(resources.engine, "SET LOCAL spawner.pruning = 'on'", attack)
        assert getattr(refused.value.orig, "sqlstate", None) == "42501", attack
    assert await left(resources) == ["0", "400"]


@pytest.mark.parametrize(("days", "kept"), [(365, ["0", "29", "31", "300"]), (0, ["0", "29"]), (-400, ["0", "29"])])
async def test_pruning_takes_what_is_old_and_never_what_is_young(
    resources: Resources, days: int, kept: list[str]
) -> None:
    await write(resources, 0, 29, 31, 300, 400)
    async with resources.unit_of_work() as session:
        assert await trail.prune(session, days) == 5 - len(kept)
    assert await left(resources) == kept


async def test_a_worker_prunes_by_the_setting(resources: Resources) -> None:
    resources.settings.audit_days = 60
    await write(resources, 0, 31, 61, 400)
    await delete_expired(resources)
    assert await left(resources) == ["0", "31"]


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit"])
async def test_the_owner_is_stopped_as_well_before_a_mistake(
    resources: Resources, owner: AsyncEngine, statement: str
) -> None:
    await write(resources, 400)
    with pytest.raises(DBAPIError, match="append-only"):
        await run(owner, statement)
    with pytest.raises(DBAPIError, match="append-only"):
        # Pruning leaves no door open behind it.
        await run(owner, "SELECT prune_audit(10000)", statement)
    assert await left(resources) == ["400"]


async def test_whether_the_database_protects_the_trail_is_known(resources: Resources, owner: AsyncEngine) -> None:
    async with resources.engine.connect() as connection:
        assert await audit_is_protected(connection)
    async with owner.connect() as connection:
        assert not await audit_is_protected(connection)
    await run(owner, "GRANT DELETE ON audit TO spawner")
    async with resources.engine.connect() as connection:
        assert not await audit_is_protected(connection)
    await run(owner, "REVOKE DELETE ON audit FROM spawner")


async def test_an_installation_with_one_role_alone_works_and_is_known_for_it(services: Services) -> None:
    """Its role is no superuser, as a provider of databases gives them away."""
    own = await asyncpg.connect(services.database_owner_url.replace("+asyncpg", ""))
    for statement in ("DROP DATABASE IF EXISTS alone", "DROP ROLE IF EXISTS alone", "CREATE ROLE alone LOGIN"):
        await own.execute(statement)
    await own.execute("CREATE DATABASE alone OWNER alone")
    await own.close()
    url = services.database_url.replace("//spawner@/spawner?", "//alone@/alone?")
    await alembic(url, "upgrade", "head")
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        assert not await audit_is_protected(connection)
        for age in (0, 400):
            values = {"at": utcnow() - timedelta(days=age)}
            await connection.execute(text(ROW), values)
        assert await connection.scalar(text("SELECT prune_audit(365)")) == 1
    with pytest.raises(DBAPIError, match="append-only"):
        await run(engine, "DELETE FROM audit")
    await engine.dispose()


ROW = """
INSERT INTO audit (at, actor, action, target_kind, target, outcome, address, request_id)
VALUES (:at, 'system', 'tested', 'day', '', 'ok', '', '')
"""


async def test_granting_again_takes_back_what_a_hand_gave(owner: AsyncEngine, resources: Resources) -> None:
    async with owner.begin() as connection:
        await connection.execute(text("GRANT ALL ON audit TO spawner"))
        await connection.run_sync(grant, "spawner")
    async with resources.engine.connect() as connection:
        assert await audit_is_protected(connection)


async def test_an_unprotected_trail_is_said_at_start_and_a_protected_one_is_not(
    resources: Resources, owner: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A logger that was used before logging was configured anew would not be heard.
    monkeypatch.setattr("app.audit.db_grants.log", structlog.get_logger())
    nowhere = create_async_engine("postgresql+asyncpg://postgres@127.0.0.1:1/spawner")
    said = []
    for engine in (resources.engine, owner, nowhere):
        with capture_logs() as lines:
            await say_whether_protected(engine)
        said.append([line["event"] for line in lines])
    assert said == [[], ["audit_not_protected"], []]
    await nowhere.dispose()
