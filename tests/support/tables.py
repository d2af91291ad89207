"""The tables as a test begins: empty, but for the row that the migration made."""

from app.core.db import Base
from app.models import Installation

_TABLES = [table.name for table in Base.metadata.sorted_tables if table.name != Installation.__tablename__]
_NAMES = ", ".join(_TABLES)
# From here on a TRUNCATE, which replaces the files of all tables and indexes, costs less than deleting the rows.
_LARGE = 4_000_000

# As the owner of the tables, in one round trip. The lock waits for writers of the test before, as TRUNCATE does.
# Triggers and foreign keys are off: all tables are emptied.
EMPTY_TABLES = f"""
DO $$ BEGIN
  LOCK TABLE {_NAMES} IN EXCLUSIVE MODE;
  IF {" + ".join(f"pg_relation_size('{name}')" for name in _TABLES)} > {_LARGE} THEN
    TRUNCATE {_NAMES} RESTART IDENTITY CASCADE;
  ELSE
    PERFORM set_config('session_replication_role', 'replica', true);
    {" ".join(f"DELETE FROM {name};" for name in _TABLES)}
    PERFORM setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S';
  END IF;
END $$
"""
