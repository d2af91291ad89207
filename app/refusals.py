"""Refused attempts of people who are signed in, in the audit trail although their transaction is rolled back.

A refusal has a transaction of its own. Of one person's refusals with one code a process writes one a minute: a flood of
them fills neither the table nor the database's connections. The log has them all.

What is not there does not count: unknown things and other people's answer 404 alike, far too often to mean anything.
"""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from uuid import UUID

import structlog
from fastapi import Request
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app import audit
from app.auth.callers import Caller, caller_by_cookie
from app.auth.cookies import access_name, only
from app.errors import AppError
from app.resources import Resources

log = structlog.get_logger(__name__)

QUIET_SECONDS = 60
MOST_REMEMBERED = 10_000


class Refusals:
    """What a process has written lately."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._written: OrderedDict[tuple[UUID, str], float] = OrderedDict()

    async def note(self, request: Request, error: AppError) -> None:
        """Write down that the request was refused, if somebody is known to have sent it. Never fails."""
        try:
            resources: Resources = request.app.state.resources
            caller = await _caller_of(request, resources)
            if caller is not None and self._is_news(caller.user.id, error.code):
                async with resources.unit_of_work() as session:
                    target = f"{request.method} {request.url.path}"
                    audit.record(session, "request_refused", "route", target, actor=caller.user, outcome=error.code)
        except (SQLAlchemyError, RedisError, OSError) as failure:
            log.warning("refusal_not_noted", code=error.code, error=type(failure).__name__)

    def _is_news(self, actor: UUID, code: str) -> bool:
        now, key = self._clock(), (actor, code)
        if now - self._written.get(key, -QUIET_SECONDS) < QUIET_SECONDS:
            return False
        self._written[key] = now
        self._written.move_to_end(key)
        while len(self._written) > MOST_REMEMBERED:
            self._written.popitem(last=False)
        return True


async def _caller_of(request: Request, resources: Resources) -> Caller | None:
    """Who sent the request: known already, or the owner of a cookie that came from elsewhere and was not looked at."""
    caller: Caller | None = getattr(request.state, "caller", None)
    cookie = only(request, access_name(resources.settings))
    if caller is None and cookie is not None:
        caller = await caller_by_cookie(resources, cookie)
    return caller
