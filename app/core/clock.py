"""The clock of deadlines, leases and expiry. Only the chaos suite sets it."""

from collections.abc import Callable
from datetime import UTC, datetime


def system() -> datetime:
    """The machine's time, in UTC."""
    return datetime.now(UTC)


source: Callable[[], datetime] = system
