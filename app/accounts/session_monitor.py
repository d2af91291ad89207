"""Those who wait for an answer, and who are let go within seconds once what they are signed in with has ended."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, Uuid, any_, cast, literal, select, union_all
from sqlalchemy.exc import SQLAlchemyError

from app.accounts.principal import Principal, session_lives, token_lives
from app.core.logging import cause
from app.models import ApiToken, Session, User
from app.resources import Resources

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2
# Nobody goes on waiting unjudged for longer than that.
BLIND_SECONDS = 10


@dataclass(eq=False, slots=True)
class Waiter:
    """One who waits. Once it is `over`, `wake` has been set: they ask who they are, and are refused."""

    wake: asyncio.Event
    over: bool = False


class SessionMonitor:
    """Asks in one statement every two seconds, however many wait, whose session or token still lives."""

    def __init__(self) -> None:
        self._present: defaultdict[UUID, set[Waiter]] = defaultdict(set)
        # When the sessions of those who wait were last known.
        self._checked = time.monotonic()

    @contextmanager
    def present(self, caller: Principal, wake: asyncio.Event) -> Iterator[Waiter]:
        """Wait within the block; `wake` is what the caller waits for."""
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
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.check_waiters(resources)
                self._checked = time.monotonic()
            except (SQLAlchemyError, OSError) as error:
                log.warning("callers_not_checked", **cause(error))
            finally:
                # Also where the check fails by a mistake of ours.
                if time.monotonic() - self._checked > BLIND_SECONDS:
                    self._end(list(self._present))

    async def check_waiters(self, resources: Resources) -> None:
        """Wake everybody whose session or token has ended, or whose account is blocked."""
        waiting = list(self._present)
        if not waiting:
            return
        keys = cast(literal(waiting, ARRAY(Uuid)), ARRAY(Uuid))
        sessions = (
            select(Session.id)
            .join(User, User.id == Session.user_id)
            .where(Session.id == any_(keys), session_lives(), User.blocked_at.is_(None))
        )
        tokens = (
            select(ApiToken.id)
            .join(User, User.id == ApiToken.user_id)
            .where(ApiToken.id == any_(keys), token_lives(), User.blocked_at.is_(None))
        )
        async with resources.reads() as session:
            alive = set(await session.scalars(union_all(sessions, tokens)))
        self._end([key for key in waiting if key not in alive])

    def _end(self, keys: list[UUID]) -> None:
        for key in keys:
            for presence in self._present.get(key, ()):
                presence.over = True
                presence.wake.set()
