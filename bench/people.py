"""A class that arrives within a minute: mail, link, session, launch; then each polls and looks at the home page."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from app.resources import open_resources
from bench.client import Answer, Client
from bench.launcher import ENDED, until_quiet
from bench.mailbox import Mailbox
from bench.table import Row, at_most, figure, none_of, percentile
from tests.support.stack import RunningStack

ARRIVAL_SECONDS = 60.0
# After the last arrival those who run leave, one after the other, and those who wait follow.
AFTER_SECONDS = 12.0
CLEAN_SECONDS = 60
LEAVE_EVERY = 0.4
POLL_SECONDS = 1.0
HOME_SECONDS = 5.0
MAIL_SECONDS = 5.0
# How long a person waits for the mail.
PATIENCE_SECONDS = 60.0


@dataclass(slots=True)
class Records:
    """What the people met."""

    answers: int = 0
    broken: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    mails: list[float] = field(default_factory=list)
    homes: list[float] = field(default_factory=list)
    ran: int = 0
    waits: list[list[tuple[int, float | None]]] = field(default_factory=list)

    def note(self, what: str, answer: Answer) -> bool:
        """Keep an answer; whether it is a good one. A refusal with a code and Retry-After has told the person."""
        self.answers += 1
        if 200 <= answer.status < 400:
            return True
        said = f"{what}: {answer.status} {answer.code or answer.error}"
        capacity = answer.status == 503 and answer.code.startswith("capacity_")
        if answer.code and "retry-after" in answer.headers and (capacity or 400 <= answer.status < 500):
            self.told.append(said)
        else:
            self.broken.append(said)
        return False


class Person:
    """One of them, with a browser that keeps cookies."""

    def __init__(self, client: Client, mailbox: Mailbox, records: Records, email: str) -> None:
        self._client, self._mailbox, self._records, self._email = client, mailbox, records, email
        self._cookies: dict[str, str] = {}
        self._token = ""
        self.running = asyncio.Event()

    async def live(self) -> None:
        """Sign in, launch, and wait until the workspace runs."""
        if await self._sign_in() and (path := await self._launch()):
            await self._wait(path)

    async def leave(self) -> None:
        """Delete the workspace."""
        self._records.note("DELETE", await self._ask("DELETE", "/api/container/hello"))

    async def _sign_in(self) -> bool:
        asked = time.time()
        if not self._records.note("POST signup", await self._ask("POST", "/api/auth/signup", {"email": self._email})):
            return False
        mail = await self._mailbox.wait(self._email, PATIENCE_SECONDS)
        if mail is None:
            self._records.mails.append(PATIENCE_SECONDS)
            return False
        self._records.mails.append(mail.delivered - asked)
        answer = await self._ask("POST", "/api/auth/verify", {"token": mail.token})
        self._token = answer.json().get("access_token", "")
        return self._records.note("POST verify", answer)

    async def _launch(self) -> str:
        """The job's path; empty where there is none to follow."""
        await self._look_home()
        answer = await self._ask("POST", "/api/container/launch/hello")
        if not self._records.note("POST launch", answer):
            return ""
        if answer.json().get("status") == "running":
            self._run()
        return str(answer.json().get("status_url") or "")

    async def _wait(self, path: str) -> None:
        seen: list[tuple[int, float | None]] = []
        self._records.waits.append(seen)
        tag, home_at = "", time.monotonic() + HOME_SECONDS
        while True:
            answer = await self._ask("GET", path, headers={"If-None-Match": tag} if tag else {})
            tag = answer.headers.get("etag", tag)
            if self._records.note("poll", answer) and answer.status == 200:
                job: dict[str, Any] = answer.json()
                if job.get("position") is not None:
                    seen.append((job["position"], job.get("eta_seconds")))
                if job["state"] in ENDED:
                    if job["state"] == "succeeded":
                        self._run()
                    else:
                        self._records.broken.append(f"job {job['state']}: {job.get('error')}")
                    return
            if time.monotonic() >= home_at:
                home_at += HOME_SECONDS
                await self._look_home()
            await asyncio.sleep(POLL_SECONDS)

    def _run(self) -> None:
        if not self.running.is_set():
            self._records.ran += 1
            self.running.set()

    async def _look_home(self) -> None:
        answer = await self._ask("GET", "/", headers={"Accept": "text/html"}, page=True)
        self._records.homes.append(answer.milliseconds)
        self._records.note("home page", answer)

    async def _ask(
        self, method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None, page: bool = False
    ) -> Answer:
        shown = dict(headers or {})
        if self._cookies and (page or not self._token):
            shown["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        if self._token and not page:
            shown["Authorization"] = f"Bearer {self._token}"
        answer = await self._client.ask(method, path, shown, body)
        self._cookies |= dict(cookie.split("=", 1) for cookie in answer.cookies)
        return answer


@asynccontextmanager
async def meet(stack: RunningStack, name: str, count: int) -> AsyncIterator[Records]:
    """Let so many arrive, evenly, within a minute; then let those who run leave. At the end all leave, not measured."""
    records = Records()
    async with (
        open_resources(stack.load_settings()) as resources,
        Client(stack.public_url) as client,
        Mailbox(stack.services.maildir) as mailbox,
    ):
        people = [Person(client, mailbox, records, f"{name}{number}@example.org") for number in range(count)]
        lives = []
        began = time.monotonic()
        for number, person in enumerate(people):
            await asyncio.sleep(began + ARRIVAL_SECONDS * number / count - time.monotonic())
            lives.append(asyncio.create_task(person.live()))
        until = began + ARRIVAL_SECONDS + AFTER_SECONDS
        leaving = asyncio.create_task(_leave(people))
        await asyncio.wait(lives, timeout=until - time.monotonic())
        for task in (leaving, *lives):
            task.cancel()
        for ended in await asyncio.gather(*lives, return_exceptions=True):
            if isinstance(ended, Exception):
                records.broken.append(f"{type(ended).__name__}: {ended}")
        yield records
        await asyncio.gather(*(person.leave() for person in people))
        await until_quiet(resources, CLEAN_SECONDS)


async def _leave(people: list[Person]) -> None:
    """Those who run leave in the order of their arrival."""
    for person in people:
        if person.running.is_set():
            await person.leave()
            await asyncio.sleep(LEAVE_EVERY)


async def people(stack: RunningStack) -> AsyncIterator[Row]:
    """A hundred."""
    async with meet(stack, "person", 100) as records:
        for row in _rows(records, 100):
            yield row
        refused = records.broken + records.told
        yield none_of("answers that are not 2xx", len(refused), records.answers, _reasons(records))
        waited = [seen for seen in records.waits if len(seen) > 1]
        rises = [seen for seen in waited if not _falls(seen)]
        yield none_of("who waited and did not see position and ETA fall", len(rises), len(waited))


async def crowd(stack: RunningStack) -> AsyncIterator[Row]:
    """Three hundred: more than the queue holds."""
    async with meet(stack, "crowd", 300) as records:
        for row in _rows(records, 300):
            yield row
        what = "answers with 5xx, or refused without a code and Retry-After"
        yield none_of(what, len(records.broken), records.answers, _reasons(records))
        yield figure("told so with a code and Retry-After", len(records.told), "")


def _rows(records: Records, count: int) -> list[Row]:
    late = sum(seconds > MAIL_SECONDS for seconds in records.mails)
    homes = records.homes or [float("inf")]
    return [
        figure(f"{count} people within {ARRIVAL_SECONDS:.0f} s: workspaces that ran", records.ran, "", up=False),
        none_of(f"mails later than {MAIL_SECONDS:.0f} s", late, len(records.mails)),
        figure("slowest mail", max(records.mails, default=0.0), "s"),
        at_most("home page meanwhile, p99", percentile(homes, 99), 1000),
    ]


def _falls(seen: list[tuple[int, float | None]]) -> bool:
    """Whether the last place is below the first one, and the last estimate below the first estimate.

    There is none before the first of a queue has found room; who sees one alone sees it at the end.
    """
    (first, _), (last, last_estimate) = seen[0], seen[-1]
    estimates = [estimate for _, estimate in seen if estimate is not None]
    return last < first and last_estimate is not None and (len(estimates) == 1 or last_estimate < estimates[0])


def _reasons(records: Records) -> str:
    counts: dict[str, int] = {}
    for said in records.broken + records.told:
        counts[said] = counts.get(said, 0) + 1
    most = sorted(counts.items(), key=lambda item: -item[1])[:4]
    return ", ".join(f"{count} × {said}" for said, count in most)
