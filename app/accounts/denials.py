"""Records denied requests of signed-in users in the audit trail, although their transaction rolls back.

Each denial has its own transaction. Per account, code and route, a process writes the first denial at once and, a
minute later, one row that counts the rest. A flood of one kind neither fills the table nor hides another kind. The log
has all denials.

404 is not recorded: unknown resources and those of other users answer alike, too often to be meaningful.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from starlette.convertors import StringConvertor
from starlette.requests import Request

from app.accounts.principal import Principal, principal_by_cookie
from app.accounts.session_cookies import access_name
from app.audit import trail
from app.core.errors import AppError
from app.core.supervise import background_loop
from app.http.cookies import single_cookie
from app.models import User
from app.resources import Resources

log = structlog.get_logger(__name__)

QUIET_SECONDS = 60
COUNT_SECONDS = 5
MAX_REMEMBERED = 10_000
AWAY = (SQLAlchemyError, RedisError, OSError)


class ClosedWord(StringConvertor):
    """A path segment from a closed list of words, each naming an operation. Free-form segments do not match."""


@dataclass(slots=True)
class _Counted:
    """Denials counted after a recorded one, and the origin of the last."""

    actor: User
    code: str
    target: str
    until: float
    origin: trail.Origin
    more: int = 0


class Denials:
    """The denials that this process has recorded recently, and the counts since."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._counted: OrderedDict[tuple[object, str, str], _Counted] = OrderedDict()

    async def record_denial(self, request: Request, error: AppError) -> None:
        """Record the denied request if its user is known. Never raises."""
        resources: Resources = request.app.state.resources
        try:
            caller = await _caller_of(request, resources)
            if caller is None:
                return
            trail.identify(session_id=caller.session_id, token_id=caller.token_id)
            target = f"{request.method} {request.url.path}"
            over = self._count(caller.user, error.code, target, _route(request))
            if over is not None:
                async with resources.unit_of_work() as session:
                    trail.record(session, "request_refused", "route", target, actor=caller.user, outcome=error.code)
                await self._write(resources, over)
        except AWAY as failure:
            log.warning("denial_not_recorded", code=error.code, error=type(failure).__name__)

    @asynccontextmanager
    async def running(self, resources: Resources) -> AsyncIterator[None]:
        """Write counts when their minute has passed, and the remaining ones at shutdown."""
        try:
            async with background_loop("denials", partial(self._keep, resources), essential=False):
                yield
        finally:
            await self.flush(resources, everything=True)

    async def flush(self, resources: Resources, *, everything: bool = False) -> None:
        """Write counts whose minute has passed. Never raises: failed writes are logged and lost."""
        now = self._clock()
        over = [key for key, counted in self._counted.items() if everything or counted.until <= now]
        try:
            await self._write(resources, [self._counted.pop(key) for key in over])
        except AWAY as failure:
            log.warning("denials_not_counted", error=type(failure).__name__)

    async def _keep(self, resources: Resources) -> None:
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            await self.flush(resources)

    def _count(self, actor: User, code: str, target: str, route: str) -> list[_Counted] | None:
        """Return the expired counts to write before this denial; None if it is only counted."""
        now, key = self._clock(), (actor.id, code, route)
        before = self._counted.get(key)
        if before is not None and now < before.until:
            before.more += 1
            before.origin = trail.origin.get()
            return None
        over = [before] if before is not None else []
        self._counted[key] = _Counted(actor, code, target, now + QUIET_SECONDS, trail.origin.get())
        self._counted.move_to_end(key)
        while len(self._counted) > MAX_REMEMBERED:
            over.append(self._counted.popitem(last=False)[1])
        return over

    async def _write(self, resources: Resources, over: list[_Counted]) -> None:
        counts = [counted for counted in over if counted.more]
        if not counts:
            return
        here = trail.origin.get()
        try:
            async with resources.unit_of_work() as session:
                for counted in counts:
                    trail.origin.set(counted.origin)
                    target, detail = counted.target, f"{counted.more} more within {QUIET_SECONDS} s"
                    actor, code = counted.actor, counted.code
                    trail.record(session, "request_refused", "route", target, actor=actor, outcome=code, detail=detail)
        finally:
            trail.origin.set(here)


def _route(request: Request) -> str:
    """Return the request's route, with the closed words of its path filled in."""
    route = request.scope.get("route")
    path: str = getattr(route, "path_format", "")
    for name, convertor in getattr(route, "param_convertors", {}).items():
        if isinstance(convertor, ClosedWord):
            path = path.replace(f"{{{name}}}", str(request.path_params.get(name, "")))
    return f"{request.method} {path}"


async def _caller_of(request: Request, resources: Resources) -> Principal | None:
    """Return the request's principal: already resolved, or the owner of a cross-site cookie that was ignored."""
    caller: Principal | None = getattr(request.state, "caller", None)
    cookie = single_cookie(request, access_name(resources.settings))
    if caller is None and cookie is not None:
        caller = await principal_by_cookie(resources, cookie)
    return caller
