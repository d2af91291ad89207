"""Column types shared by the tables, and their clock."""

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import Enum, ForeignKey
from sqlalchemy.orm import mapped_column

from app.core import clock


def utcnow() -> datetime:
    """Return the current time in UTC, timezone-aware."""
    return clock.source()


def choice(kind: type[enum.StrEnum], *, name: str = "") -> Enum:
    """A text column with a check constraint, so that a plain migration can add members."""
    name = name or "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).lstrip("_")
    return Enum(
        kind, native_enum=False, create_constraint=True, name=name, values_callable=lambda k: [m.value for m in k]
    )


def owner(table: str, *, index: bool = True) -> Any:
    """A foreign key with ON DELETE CASCADE."""
    return mapped_column(ForeignKey(f"{table}.id", ondelete="CASCADE"), index=index)
