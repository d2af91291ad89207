"""Thirty people who launch, restart, stop, delete and cancel all the while, through the API, as clients see it."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import update

from app.models import Session, utcnow
from app.resources import Resources
from tests.support.factories import SignedIn, sign_in
from tests.support.http import direct_client
from tests.support.stack import RunningStack

TEMPLATE = "hello"
DEEDS = ("launch",) * 8 + ("restart",) * 3 + ("stop",) * 4 + ("delete",) * 2 + ("cancel",) * 2


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that the API said it had accepted, and what it had been asked."""

    job_id: UUID
    who: str
    deed: str
    answer: dict[str, Any]
    at: float


@dataclass(slots=True)
class Load:
    """Seeded people. `pace` is how many seconds each of them lets pass between two deeds, on average."""

    stack: RunningStack
    seed: int
    people: int
    pace: float
    accepted: dict[UUID, Accepted] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    signed_in: list[SignedIn] = field(default_factory=list)
    _going: asyncio.Event = field(default_factory=asyncio.Event)
    _busy: int = 0

    async def sign_in(self, resources: Resources) -> None:
        """Give everybody a session that outlives all jumps of the clock."""
        self.signed_in = [await sign_in(resources, f"user{number}") for number in range(self.people)]
        async with resources.unit_of_work() as session:
            await session.execute(update(Session).values(expires_at=utcnow() + timedelta(days=30)))

    async def run(self) -> None:
        """Act until cancelled, whenever `resume` was called and `pause` was not."""
        async with direct_client(timeout=20) as http, asyncio.TaskGroup() as group:
            for number, person in enumerate(self.signed_in):
                group.create_task(self._live(http, person, random.Random(f"{self.seed}:{number}")))

    def resume(self) -> None:
        self._going.set()

    async def pause(self) -> None:
        """Let nobody begin anything; returns when everybody has their answer."""
        self._going.clear()
        while self._busy:
            await asyncio.sleep(0.05)

    async def act(
        self,
        http: httpx.AsyncClient,
        person: SignedIn,
        deed: str,
        job_id: UUID | None = None,
        *,
        template: str = TEMPLATE,
    ) -> UUID | None:
        """One request. Whatever the answer, or none: it is counted, and an accepted job is kept."""
        path = {
            "restart": f"/api/container/{template}/restart",
            "stop": f"/api/container/{template}/stop",
            "delete": f"/api/container/{template}",
            "cancel": f"/api/jobs/{job_id}/cancel",
        }.get(deed, f"/api/container/launch/{template}")
        method = "DELETE" if deed == "delete" else "POST"
        self._busy += 1
        try:
            # The name `localhost` is not everywhere known; the proxy goes by the header.
            url = httpx.URL(self.stack.public_url)
            headers = {**person.headers, "Host": url.netloc.decode()}
            answer = await http.request(method, url.copy_with(host="127.0.0.1", path=path), headers=headers)
        except httpx.HTTPError as error:
            self.answers[f"{deed}: {type(error).__name__}"] += 1
            return None
        finally:
            self._busy -= 1
        self.answers[f"{deed}: {answer.status_code}"] += 1
        if answer.status_code not in (200, 202) or deed == "cancel":
            return None
        body = answer.json()
        if not body["job"]:
            return None
        accepted = UUID(body["job"]["id"])
        self.accepted.setdefault(accepted, Accepted(accepted, person.user.slug, deed, body, time.time()))
        return accepted

    async def _live(self, http: httpx.AsyncClient, person: SignedIn, dice: random.Random) -> None:
        last: UUID | None = None
        await asyncio.sleep(dice.uniform(0, self.pace))
        while True:
            await self._going.wait()
            deed = dice.choice(DEEDS)
            if deed != "cancel" or last is not None:
                last = await self.act(http, person, deed, last) or last
            await asyncio.sleep(dice.uniform(0.5, 1.5) * self.pace)
