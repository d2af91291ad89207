"""From the launch until the workspace's page answers, where each workspace has a host of its own."""

import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from app.catalog.templates import Template
from app.resources import open_resources
from bench.accounts import Account, sign_in_many
from bench.client import Client
from bench.launcher import Launcher, require
from bench.table import Failed, Row, at_most, figure, median, not_reached, percentile
from tests.support.stack import RunningStack

SEATS = 2
ROUNDS = {"jupyter": 3, "hello": 5}
TARGETS = {"jupyter": {50: 150, 99: 400}, "hello": {50: 60}}
REDIRECTS = 10
NAVIGATION = {
    "Accept": "text/html",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "none",
    "Sec-Fetch-Dest": "document",
}


async def warm(stack: RunningStack) -> AsyncIterator[Row]:
    """`jupyter` and `hello`, as a browser opens them."""
    seats = "warm" in Template.model_fields
    async with open_resources(stack.load_settings()) as resources, Client(stack.public_url) as client:
        for template, rounds in ROUNDS.items():
            accounts = await sign_in_many(resources, template, rounds)
            launcher = Launcher(client, list(accounts), template)
            times = [await _open(client, launcher, accounts[-1 - number]) for number in range(rounds)]
            await launcher.clean()
            kind = "warm" if seats else "cold"
            yield figure(f"{kind} launch of {template} until its page answers, p50 of {rounds}", median(times), "ms")
            for percent, most in TARGETS[template].items():
                what = f"warm launch of {template} until its page answers, p{percent}"
                if seats:
                    yield at_most(what, percentile(times, percent), most)
                else:
                    yield not_reached(what, "no warm seats", f"{most} ms")


async def _open(client: Client, launcher: Launcher, account: Account) -> float:
    """Milliseconds from the click until the page is there."""
    began = time.perf_counter()
    (launch,) = require([await launcher.run()])
    url = launch.posted.json()["service_url"]
    cookies: dict[str, dict[str, str]] = {client.host: {"spawner_session": account.cookie}}
    for _ in range(REDIRECTS):
        parts = urlsplit(url)
        jar = cookies.setdefault(parts.netloc, {})
        shown = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())} if jar else {}
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        answer = await client.ask("GET", path, {**NAVIGATION, **shown}, host=parts.netloc)
        jar.update(dict(cookie.split("=", 1) for cookie in answer.cookies))
        if answer.status == 200:
            return (time.perf_counter() - began) * 1000
        if not 300 <= answer.status < 400:
            raise Failed(f"{parts.netloc}{parts.path} answered {answer.status} {answer.code or answer.error}")
        target = answer.headers["location"]
        url = target if "://" in target else f"{parts.scheme}://{parts.netloc}{target}"
    raise Failed(f"{url} leads on and on")
