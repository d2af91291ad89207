"""From the click until a workspace's page answers: a warm seat is ready, and each workspace has a host of its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from sqlalchemy import func, select

from app.models import Seat, SeatState
from app.resources import Resources, open_resources
from bench.accounts import sign_in_many
from bench.client import Client
from bench.launcher import Launcher
from bench.table import Failed, Row, at_most, figure, median, percentile
from tests.support.stack import ROOT, RunningStack

SETTINGS = {"SPAWNER_CATALOG": str(ROOT / "bench" / "warm.yaml")}
# As many seats of each template as bench/warm.yaml says.
SEATS = {"jupyter": 2, "hello": 2}
ROUNDS = 6
READY_SECONDS = 60
TARGETS = {"jupyter": {50: 150, 99: 400}, "hello": {50: 60}}
REDIRECTS = 10
NAVIGATION = {
    "Accept": "text/html",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "none",
    "Sec-Fetch-Dest": "document",
}


async def warm(stack: RunningStack) -> AsyncIterator[Row]:
    """`jupyter` and `hello`, as a browser opens them, each once all seats are ready."""
    async with open_resources(stack.load_settings()) as resources, Client(stack.public_url) as client:
        for template, targets in TARGETS.items():
            launcher = Launcher(client, await sign_in_many(resources, template, ROUNDS + 1), template)
            posts, times = [], []
            for _ in range(ROUNDS + 1):
                await _until_ready(resources)
                post, opened = await _open(client, launcher)
                posts.append(post)
                times.append(opened)
            # The first one fills caches.
            posts, times = posts[1:], times[1:]
            for percent, most in targets.items():
                what = f"warm launch of {template} until its page answers, p{percent} of {ROUNDS}"
                yield at_most(what, percentile(times, percent), most)
            yield figure("of it POST launch, p50", median(posts), "ms")


async def _until_ready(resources: Resources) -> None:
    """Wait until all seats are ready and no job is live. Raises `TimeoutError`."""
    async with asyncio.timeout(READY_SECONDS):
        while True:
            async with resources.reads() as session:
                ready = select(Seat.template, func.count()).where(Seat.state == SeatState.READY)
                found = dict((await session.execute(ready.group_by(Seat.template))).all())
            if found == SEATS:
                return
            await asyncio.sleep(0.1)


async def _open(client: Client, launcher: Launcher) -> tuple[float, float]:
    """Milliseconds from the click until the launch is accepted, and until the page is there."""
    account = launcher.next_account
    cookies = {client.host: {"spawner_session": account.cookie}}
    # Whoever clicks has the home page open.
    await _visit(client, cookies, f"http://{client.host}/")
    launch = await launcher.post()
    if launch.posted.status != 202 or launch.posted.json()["status"] != "running":
        raise Failed(f"no warm seat was taken: {launch.why_not}")
    await _visit(client, cookies, launch.posted.json()["service_url"])
    return launch.posted.milliseconds, (time.perf_counter() - launch.began) * 1000


async def _visit(client: Client, cookies: dict[str, dict[str, str]], url: str) -> None:
    """Follow redirects, as a browser with these cookies of each host, until the page is there."""
    for _ in range(REDIRECTS):
        parts = urlsplit(url)
        jar = cookies.setdefault(parts.netloc, {})
        shown = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())} if jar else {}
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        answer = await client.ask("GET", path, {**NAVIGATION, **shown}, host=parts.netloc)
        jar.update(dict(cookie.split("=", 1) for cookie in answer.cookies))
        if answer.status == 200:
            return
        if not 300 <= answer.status < 400:
            raise Failed(f"{parts.netloc}{parts.path} answered {answer.status} {answer.code or answer.error}")
        target = answer.headers["location"]
        url = target if "://" in target else f"{parts.scheme}://{parts.netloc}{target}"
    raise Failed(f"{url} leads on and on")
