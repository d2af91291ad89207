"""Two roles at the database: one owns the tables and changes them, the other is what API and workers connect as.

The second may add to the audit trail and read it, and can neither change nor remove what is there.
"""

import structlog
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.core.db import Base
from app.models import AuditEntry, Installation

log = structlog.get_logger(__name__)

VERSIONS = "alembic_version"
EVERYTHING = "SELECT, INSERT, UPDATE, DELETE"
# What each table allows that does not allow everything.
FEWER = {AuditEntry.__tablename__: "SELECT, INSERT", VERSIONS: "SELECT", Installation.__tablename__: "SELECT"}

SEQUENCES = """
SELECT relname FROM pg_class
WHERE relkind = 'S' AND relnamespace = current_schema()::regnamespace AND pg_has_role(relowner, 'MEMBER')
"""
# A superuser has all of these; whoever may make roles could let themselves in as the owner.
PROTECTED = """
SELECT NOT (
  me.rolsuper OR me.rolcreaterole OR pg_has_role(trail.relowner, 'MEMBER')
  OR has_table_privilege(trail.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
  OR has_any_column_privilege(trail.oid, 'UPDATE')
)
FROM pg_roles me, pg_class trail WHERE me.rolname = current_user AND trail.oid = to_regclass('audit')
"""


def grant(connection: Connection, role: str) -> None:
    """Give the application's role what it needs of every table there is, and nothing more. May be repeated.

    Where the role is the owner itself there is nothing to give.
    """
    if role == connection.scalar(text("SELECT current_user")):
        return
    found = set(inspect(connection).get_table_names())
    quote = connection.dialect.identifier_preparer.quote
    whom, schema = quote(role), quote(connection.scalar(text("SELECT current_schema()")) or "public")
    connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {whom}"))
    for table in sorted(found & {VERSIONS, *Base.metadata.tables}):
        allowed = FEWER.get(table, EVERYTHING)
        connection.execute(text(f"REVOKE ALL ON {quote(table)} FROM {whom}"))
        connection.execute(text(f"GRANT {allowed} ON {quote(table)} TO {whom}"))
    for sequence in connection.scalars(text(SEQUENCES)).all():
        # `nextval` alone: who could set a sequence back would make inserts fail.
        connection.execute(text(f"GRANT USAGE ON SEQUENCE {quote(sequence)} TO {whom}"))
    if AuditEntry.__tablename__ in found:
        connection.execute(text(f"GRANT EXECUTE ON FUNCTION prune_audit(integer) TO {whom}"))


async def audit_is_protected(connection: AsyncConnection) -> bool:
    """Whether the database keeps whom this connection belongs to from changing or removing rows of the audit trail."""
    return bool(await connection.scalar(text(PROTECTED)))


async def say_whether_protected(engine: AsyncEngine) -> None:
    """Log once where the database does not protect the audit trail. One that does not answer is not waited for."""
    try:
        async with engine.connect() as connection:
            protected = await audit_is_protected(connection)
    except (SQLAlchemyError, OSError):
        return
    if not protected:
        log.warning("audit_not_protected", remedy="let API and workers connect as a role that owns no table")
