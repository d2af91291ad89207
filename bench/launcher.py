"""Launches through the API, as clients see them: POST, then long-poll until the job has ended."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from app.models import Job
from app.resources import Resources
from bench.accounts import Account
from bench.client import Answer, Client
from bench.table import Failed

ENDED = ("succeeded", "failed", "cancelled", "superseded")
FOLLOW_SECONDS = 90


@dataclass(slots=True)
class Launch:
    """One launch: the answer to its POST, and, once it has ended, the job and when it ended."""

    account: Account
    posted: Answer
    began: float
    job: dict[str, Any] = field(default_factory=dict)
    ended: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether the workspace runs."""
        return self.job.get("state") == "succeeded"

    @property
    def milliseconds(self) -> float:
        """From the POST to the news that the job has ended."""
        return (self.ended - self.began) * 1000

    @property
    def why_not(self) -> str:
        """Why it did not succeed, in one line."""
        if self.posted.status not in (200, 202):
            return f"POST answered {self.posted.status} {self.posted.code or self.posted.error}"
        return f"the job is {self.job.get('state')}: {self.job.get('error')}"


class Launcher:
    """Takes a fresh account for each launch. `clean` deletes what was launched, as its owners would."""

    def __init__(self, client: Client, accounts: list[Account], template: str = "hello") -> None:
        self._client, self._accounts, self._template = client, accounts, template
        self._launched: list[Launch] = []

    @property
    def next_account(self) -> Account:
        """Whose launch the next one is."""
        return self._accounts[-1]

    async def post(self) -> Launch:
        """A user's first launch, accepted or not."""
        account, began = self._accounts.pop(), time.perf_counter()
        path = f"/api/container/launch/{self._template}"
        launch = Launch(account, await self._client.ask("POST", path, account.headers), began)
        if launch.posted.status == 202:
            self._launched.append(launch)
        return launch

    async def run(self) -> Launch:
        """Launch, and follow the job until it has ended. A refusal is an outcome, too."""
        launch = await self.post()
        if launch.posted.status == 202:
            launch.job = await self.follow(launch.account, launch.posted.json()["status_url"])
            launch.ended = time.perf_counter()
        return launch

    async def run_many(self, count: int) -> list[Launch]:
        """So many in one instant."""
        return list(await asyncio.gather(*(self.run() for _ in range(count))))

    async def follow(self, account: Account, path: str, seconds: float = FOLLOW_SECONDS) -> dict[str, Any]:
        """Long-poll a job until it has ended, or the time is over; returns it as it was last seen."""
        until, tag = time.perf_counter() + seconds, ""
        job: dict[str, Any] = {}
        while time.perf_counter() < until:
            headers = {**account.headers, "If-None-Match": tag} if tag else account.headers
            answer = await self._client.ask("GET", f"{path}?wait=20", headers)
            tag = answer.headers.get("etag", tag)
            if answer.status == 200:
                job = answer.json()
                if job["state"] in ENDED:
                    return job
            elif answer.status != 304:
                await asyncio.sleep(0.5)
        return job

    async def clean(self) -> None:
        """Delete what was launched; not measured. Raises `Failed`."""
        ended = await asyncio.gather(*(self._delete(launch.account) for launch in self._launched))
        self._launched.clear()
        if not all(ended):
            raise Failed(f"{ended.count(False)} workspaces could not be deleted")

    async def _delete(self, account: Account) -> bool:
        for _ in range(5):
            answer = await self._client.ask("DELETE", f"/api/container/{self._template}", account.headers)
            if answer.status == 200:
                return True
            if answer.status == 202:
                job = await self.follow(account, answer.json()["status_url"], 60)
                return job.get("state") == "succeeded"
            await asyncio.sleep(1)
        return False


async def until_quiet(resources: Resources, seconds: float = 30) -> None:
    """Wait until no job is live. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while True:
            async with resources.reads() as session:
                if not await session.scalar(select(func.count()).select_from(Job).where(Job.is_live)):
                    return
            await asyncio.sleep(0.05)


def require(launches: list[Launch]) -> list[Launch]:
    """The launches, if all succeeded. Raises `Failed` with the first reason."""
    for launch in launches:
        if not launch.succeeded:
            raise Failed(launch.why_not)
    return launches
