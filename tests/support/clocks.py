"""A clock that a test sets."""

from datetime import datetime, timedelta

from app.core import clock


class Time:
    """The platform's clock, which stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = clock.system()

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **delta: float) -> None:
        self.now += timedelta(**delta)
