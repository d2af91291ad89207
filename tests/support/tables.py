"""The tables as a test begins: empty, but for the row that the migration made."""

from app.core.db import Base
from app.models import Installation

_TABLES = [table.name for table in Base.metadata.sorted_tables if table.name != Installation.__tablename__]
EMPTY_TABLES = f"TRUNCATE {', '.join(_TABLES)} RESTART IDENTITY CASCADE"
