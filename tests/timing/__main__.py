"""`make timing`: a thousand tries for each kind of address at each path, with the mail server up and down."""

import asyncio
import logging
import statistics
import sys

import httpx

from app.core.settings.model import Settings
from app.main import create_app
from app.resources import open_resources
from app.workspaces.jobs.subscriptions import JobSubscriptions
from deploy.stack.services import Services
from tests.conftest import ROOT, migrated_services
from tests.timing.asking import ALPHA, Answers, measure, put_accounts
from tests.timing.ranks import mann_whitney

TRIES = 1000
NO_MAIL = "smtp://127.0.0.1:1"


def make_settings(services: Services, smtp_url: str) -> Settings:
    """Of an installation where nobody is over a limit."""
    return Settings(
        _env_file=None,
        environment="development",
        secret_key="a-secret-for-timing-0123456789-abcdefghij",
        database_url=services.database_url,
        redis_url=services.redis_url,
        smtp_url=smtp_url,
        catalog=ROOT / "images" / "catalog.yaml",
        magic_links_per_hour=10 * TRIES,
    )


async def run(settings: Settings) -> Answers:
    """Ask an API of this process; no worker runs, and none matters to the answers."""
    async with open_resources(settings) as resources:
        await resources.redis.flushall()
        app = create_app(settings)
        app.state.resources, app.state.watch = resources, JobSubscriptions(resources.redis, resources.settings.instance)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=settings.public_url) as client:
            return await measure(client, TRIES)


async def prepare(settings: Settings) -> None:
    """The accounts of those kinds that have some."""
    async with open_resources(settings) as resources:
        await put_accounts(resources, TRIES)


def told_apart(sample: list[float], other: list[float], pairs: int) -> int:
    """By how many microseconds every answer of one sample would have to be slower to be noticed."""
    shifts = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
    threshold = ALPHA / pairs
    return next(us for us in shifts if mann_whitney(sample, [value + us / 1e6 for value in other]) < threshold)


def tell(title: str, answers: Answers) -> bool:
    """Print what came; whether all kinds are alike."""
    print(f"\n{title}")
    for (path, kind), seconds in sorted(answers.seconds.items()):
        print(f"  {path:<7}{kind:<15}median {statistics.median(seconds) * 1e3:6.3f} ms")
    samples, pairs = list(answers.seconds.values()), len(answers.seconds) * (len(answers.seconds) - 1) // 2
    least = min(mann_whitney(first, second) for i, first in enumerate(samples) for second in samples[:i])
    print(f"  {pairs} comparisons, the least p {least:.3g} (told apart below {ALPHA / pairs:.2g})")
    print(f"  a difference of {told_apart(samples[0], samples[1], pairs)} us would be noticed")
    found = [*answers.unequal(), *(["the answers differ"] if len(answers.shown) > 1 else [])]
    for one in found:
        print(f"  TOLD APART: {one}")
    return not found


def main() -> int:
    """0 where nothing tells one address from another."""
    with migrated_services() as services:
        # A line for each of twenty thousand requests would hide what this prints.
        logging.disable(logging.INFO)
        up, down = make_settings(services, services.smtp_url), make_settings(services, NO_MAIL)
        asyncio.run(prepare(up))
        alike = [tell("mail server up", asyncio.run(run(up))), tell("mail server down", asyncio.run(run(down)))]
    return 0 if all(alike) else 1


if __name__ == "__main__":
    sys.exit(main())
