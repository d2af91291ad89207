"""Ask for links for addresses of every kind, in random order, and compare how long the answers take."""

import gc
import itertools
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from sqlalchemy import insert

from app.models import User, UserState, utcnow
from app.resources import Resources
from tests.timing.ranks import mann_whitney

# All addresses are of one length: only what the platform knows of them differs.
KINDS = {
    "new": "example.org",
    "known": "example.org",
    "blocked": "example.org",
    "unverified": "example.org",
    "undeliverable": "nowhere.org",
}
PATHS = ("signup", "login")
# Of the chance that a comparison among equals looks unequal, over all comparisons together (Bonferroni).
ALPHA = 0.001

Group = tuple[str, str]


@dataclass
class Answers:
    """What came for each kind of address at each path: the seconds, and everything else, once."""

    seconds: dict[Group, list[float]] = field(default_factory=dict)
    shown: set[tuple[int, bytes, tuple[tuple[str, str], ...]]] = field(default_factory=set)

    def unequal(self) -> list[str]:
        """The pairs of groups that their times tell apart."""
        pairs = list(itertools.combinations(sorted(self.seconds), 2))
        found = [(mann_whitney(self.seconds[first], self.seconds[second]), first, second) for first, second in pairs]
        return [f"{first} and {second}: p = {p:.2g}" for p, first, second in found if p < ALPHA / len(pairs)]


def address(kind: str, number: int) -> str:
    """The n-th address of a kind."""
    return f"{kind[0]}{number:06}@{KINDS[kind]}"


async def put_accounts(resources: Resources, count: int) -> None:
    """Accounts for the kinds that have some."""
    rows = [
        {
            "email": address(kind, number),
            "slug": f"{kind}{number:06}",
            "state": UserState.REGISTERED if kind == "unverified" else UserState.VERIFIED,
            "blocked_at": utcnow() if kind == "blocked" else None,
        }
        for kind in ("known", "blocked", "unverified")
        for number in range(count)
    ]
    async with resources.unit_of_work() as session:
        await session.execute(insert(User), rows)


async def measure(client: httpx.AsyncClient, count: int, *, seed: int = 1) -> Answers:
    """Ask `count` times for each kind at each path. Every round asks for all of them, in an order of its own."""
    chance = random.Random(seed)
    answers = Answers({(path, kind): [] for path in PATHS for kind in KINDS})
    for kind in KINDS:
        for path in PATHS:
            await _ask(client, path, address(kind, 999_999))
    with _undisturbed():
        for number in range(count):
            groups = list(answers.seconds)
            chance.shuffle(groups)
            for path, kind in groups:
                began = time.perf_counter()
                answer = await _ask(client, path, address(kind, number))
                answers.seconds[path, kind].append(time.perf_counter() - began)
                headers = {**answer.headers, "x-request-id": ""}
                answers.shown.add((answer.status_code, answer.content, tuple(sorted(headers.items()))))
    return answers


async def _ask(client: httpx.AsyncClient, path: str, email: str) -> httpx.Response:
    return await client.post(f"/api/auth/{path}", json={"email": email})


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without collections of garbage, which hit now this answer, now that."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
