"""Reads a job once, until it changes, or until it ends. No database session is held while waiting.

Waits are limited per account. Equal waits share a read: each change is read once per process.
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

# Seconds after which an unchanged stream sends a keep-alive and authenticates again.
KEEP_ALIVE_SECONDS = 15
MAX_SECONDS = 600


def known_tags(seen: str | None) -> set[str]:
    """Parse the ETags of If-None-Match."""
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
    """Return the job and its ETag; with `wait`, once it differs from `seen`, ends, or the seconds have passed.

    `seen` is If-None-Match: if it still matches, the job is None (304). Without it, waits for the next change. Raises
    `NotFound`, `TooManyStreams`, and `Unauthorized` if the caller's session ended while waiting.
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
    """Yield the job and its ETag whenever it differs from `seen` or the last one yielded, until it ends.

    Yields None as keep-alive; yields nothing if `seen` is the ETag of an ended job. Ends after ten minutes and at
    shutdown. Raises `NotFound`, `TooManyStreams`, and `Unauthorized` if the caller's session has ended.
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
    """`confirm`, shared by everything that a session or token has open."""
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
    """Return the job, its ETag, and whether this waited: the caller must then be authenticated again."""
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
