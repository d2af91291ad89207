"""The one clock that deadlines, leases and expiry are read from. Only the chaos suite sets it."""

from collections.abc import Callable
from datetime import UTC, datetime


def system() -> datetime:
    """What the machine says."""
    return datetime.now(UTC)


source: Callable[[], datetime] = system
