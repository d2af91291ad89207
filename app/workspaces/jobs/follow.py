"""Reading a job once, until it changes, or until it ends. No database session is open while anybody waits.

Those who wait are counted by account, and equal ones read together: a change of a job is read once a process.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from functools import partial
from uuid import UUID

from app.accounts.principal import Principal, confirm
from app.core.i18n import Locale
from app.core.waiting import wait_and_clear
from app.models import LIVE_STATES
from app.resources import Resources
from app.workspaces.jobs.subscriptions import JobSubscriptions
from app.workspaces.schemas import JobOut
from app.workspaces.views import read_job

# Seconds after which one that follows a job hears that nothing has changed, and is asked who it is.
KEEP_ALIVE_SECONDS = 15
MAX_SECONDS = 600


def known_tags(seen: str | None) -> set[str]:
    """The ETags of an If-None-Match header."""
    return {part.strip().removeprefix("W/") for part in seen.split(",")} if seen else set()


async def poll_job(
    resources: Resources,
    watch: JobSubscriptions,
    caller: Principal,
    job_id: UUID,
    locale: Locale,
    *,
    seen: str | None,
    wait: float,
) -> tuple[JobOut | None, str]:
    """The job and its ETag; with `wait`, after it differs from `seen`, ends, or that many seconds have passed.

    `seen` is the client's If-None-Match: where it still fits, the job is None (304). Without it the wait is for the
    next change from now. Raises `NotFound`, `TooManyStreams` where the account waits too often already, and
    `Unauthorized` in place of news for a caller whose session has ended while they waited.
    """
    known = known_tags(seen)
    with watch.place(caller.user.id, resources.settings.user_streams) if wait else nullcontext():
        view, current, waited = await _read(resources, watch, caller, job_id, locale, known=known, wait=wait)
        if waited:
            await confirm_shared(resources, watch, caller)
    return (None if current in known else view), current


async def follow_job(
    resources: Resources, watch: JobSubscriptions, caller: Principal, job_id: UUID, locale: Locale, *, seen: str | None
) -> AsyncGenerator[tuple[JobOut, str] | None, None]:
    """Yield the job and its ETag whenever it differs from `seen`, the last one that was yielded, until it has ended.

    None says that nothing has changed for a while; nothing at all comes where `seen` is the tag of a job that has
    ended. Ends early after ten minutes, and when the process is told to stop. Raises `NotFound`, `TooManyStreams`, and
    `Unauthorized` in place of news for a caller whose session has ended.
    """
    with watch.place(caller.user.id, resources.settings.user_streams):
        async with aclosing(_follow(resources, watch, caller, job_id, locale, seen)) as followed:
            async for news in followed:
                yield news


async def _follow(
    resources: Resources, watch: JobSubscriptions, caller: Principal, job_id: UUID, locale: Locale, seen: str | None
) -> AsyncGenerator[tuple[JobOut, str] | None, None]:
    clock = asyncio.get_running_loop().time
    until = clock() + MAX_SECONDS
    view, current, _ = await _read(resources, watch, caller, job_id, locale, known=set(), wait=0)
    if current == seen and view.state not in LIVE_STATES:
        return
    while True:
        yield None if current == seen else (view, current)
        seen = current
        if view.state not in LIVE_STATES or watch.closing or clock() >= until:
            return
        wait = min(KEEP_ALIVE_SECONDS, until - clock())
        view, current, _ = await _read(resources, watch, caller, job_id, locale, known={seen}, wait=wait)
        await confirm_shared(resources, watch, caller)


async def confirm_shared(resources: Resources, watch: JobSubscriptions, caller: Principal) -> None:
    """`confirm`, once for all that a session or token has open at this moment."""
    await watch.reads.read(("caller", caller.session_id, caller.token_id), partial(confirm, resources, caller))


async def _read(
    resources: Resources,
    watch: JobSubscriptions,
    caller: Principal,
    job_id: UUID,
    locale: Locale,
    *,
    known: set[str],
    wait: float,
) -> tuple[JobOut, str, bool]:
    """The job, its ETag, and whether it was waited for; then the caller may be somebody else by now, or nobody."""
    user_id = caller.user.id
    waited = False
    clock = asyncio.get_running_loop().time
    until = clock() + wait
    read = partial(read_job, resources, user_id, job_id, locale)
    with watch.changes(job_id) as changed, watch.session_monitor.present(caller, changed) as presence:
        while True:
            view, current = await watch.reads.read((user_id, job_id, locale), read)
            known = known or {current}
            remaining = until - clock()
            done = current not in known or view.state not in LIVE_STATES
            if done or remaining <= 0 or watch.closing or presence.over:
                return view, current, waited
            waited = True
            await wait_and_clear(changed, remaining)
