"""What the tables have in common: their columns' kinds and the clock."""

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import Enum, ForeignKey
from sqlalchemy.orm import mapped_column

from app.core import clock


def utcnow() -> datetime:
    """The time now, aware, in UTC."""
    return clock.source()


def choice(kind: type[enum.StrEnum], *, name: str = "") -> Enum:
    """A text column with a check constraint: adding a member is a plain migration."""
    name = name or "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).lstrip("_")
    return Enum(
        kind, native_enum=False, create_constraint=True, name=name, values_callable=lambda k: [m.value for m in k]
    )


def owner(table: str, *, index: bool = True) -> Any:
    """A reference to the row that this one belongs to, and goes with."""
    return mapped_column(ForeignKey(f"{table}.id", ondelete="CASCADE"), index=index)
