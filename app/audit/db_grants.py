"""Database roles: one owns and migrates the tables, API and workers connect as the other.

The second may insert and read audit rows, but neither update nor delete them.
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
# Tables with restricted privileges.
FEWER = {AuditEntry.__tablename__: "SELECT, INSERT", VERSIONS: "SELECT", Installation.__tablename__: "SELECT"}

SEQUENCES = """
SELECT relname FROM pg_class
WHERE relkind = 'S' AND relnamespace = current_schema()::regnamespace AND pg_has_role(relowner, 'MEMBER')
"""
# Superusers have all privileges; a role that can create roles could grant itself the owner's.
PROTECTED = """
SELECT NOT (
  me.rolsuper OR me.rolcreaterole OR pg_has_role(trail.relowner, 'MEMBER')
  OR has_table_privilege(trail.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
  OR has_any_column_privilege(trail.oid, 'UPDATE')
)
FROM pg_roles me, pg_class trail WHERE me.rolname = current_user AND trail.oid = to_regclass('audit')
"""


def grant(connection: Connection, role: str) -> None:
    """Grant the application's role its privileges on all tables. Idempotent.

    Does nothing if that role is the owner.
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
        # USAGE permits only `nextval`: resetting a sequence would break inserts.
        connection.execute(text(f"GRANT USAGE ON SEQUENCE {quote(sequence)} TO {whom}"))
    if AuditEntry.__tablename__ in found:
        connection.execute(text(f"GRANT EXECUTE ON FUNCTION prune_audit(integer) TO {whom}"))


async def audit_is_protected(connection: AsyncConnection) -> bool:
    """Return whether the database denies this connection's role updates and deletes of audit rows."""
    return bool(await connection.scalar(text(PROTECTED)))


async def say_whether_protected(engine: AsyncEngine) -> None:
    """Log once if the database does not protect the audit trail. Ignores an unreachable database."""
    try:
        async with engine.connect() as connection:
            protected = await audit_is_protected(connection)
    except (SQLAlchemyError, OSError):
        return
    if not protected:
        log.warning("audit_not_protected", remedy="connect API and workers as a role that owns no table")
