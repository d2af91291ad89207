"""Ends long waits within seconds after their session or token has ended."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import select, union_all
from sqlalchemy.exc import SQLAlchemyError

from app.accounts.principal import Principal, session_lives, token_lives
from app.core.db import among
from app.core.logging import cause
from app.models import ApiToken, Session, User
from app.resources import Resources

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2
# Waits end if no check has succeeded for this long.
BLIND_SECONDS = 10


@dataclass(eq=False, slots=True)
class Waiter:
    """A waiting request. `over` is set before `wake`: the request then authenticates again and fails."""

    wake: asyncio.Event
    over: bool = False


class SessionMonitor:
    """Checks every two seconds, in one statement for all waiting requests, which sessions and tokens are live."""

    def __init__(self) -> None:
        self._present: defaultdict[UUID, set[Waiter]] = defaultdict(set)
        # Time of the last successful check.
        self._checked = time.monotonic()

    @contextmanager
    def present(self, caller: Principal, wake: asyncio.Event) -> Iterator[Waiter]:
        """Register a waiting request during the block; `wake` is the event that it awaits."""
        key = caller.token_id or caller.session_id
        presence = Waiter(wake)
        if key is None:
            yield presence
            return
        self._present[key].add(presence)
        try:
            yield presence
        finally:
            self._present[key].discard(presence)
            if not self._present[key]:
                del self._present[key]

    async def watch(self, resources: Resources) -> None:
        """Check repeatedly until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.check_waiters(resources)
                self._checked = time.monotonic()
            except (SQLAlchemyError, OSError) as error:
                log.warning("sessions_not_checked", **cause(error))
            finally:
                # Also applies if the check itself has a bug.
                if time.monotonic() - self._checked > BLIND_SECONDS:
                    self._end(list(self._present))

    async def check_waiters(self, resources: Resources) -> None:
        """Wake all requests whose session or token has ended, or whose account is blocked."""
        waiting = list(self._present)
        if not waiting:
            return
        sessions = (
            select(Session.id)
            .join(User, User.id == Session.user_id)
            .where(among(Session.id, waiting), session_lives(), User.blocked_at.is_(None))
        )
        tokens = (
            select(ApiToken.id)
            .join(User, User.id == ApiToken.user_id)
            .where(among(ApiToken.id, waiting), token_lives(), User.blocked_at.is_(None))
        )
        async with resources.reads() as session:
            alive = set(await session.scalars(union_all(sessions, tokens)))
        self._end([key for key in waiting if key not in alive])

    def _end(self, keys: list[UUID]) -> None:
        for key in keys:
            for presence in self._present.get(key, ()):
                presence.over = True
                presence.wake.set()
