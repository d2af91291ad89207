"""What the tests of streams are written with: the API behind its server, rows, and a reader of events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import httpx
import uvicorn
from fastapi import FastAPI
from sqlalchemy import update

from app.core.outbox import announce
from app.core.settings.model import Settings
from app.main import create_app
from app.models import (
    LIVE_STATES,
    DesiredState,
    Job,
    JobEvent,
    JobKind,
    JobState,
    JobStep,
    User,
    Workspace,
    WorkspaceStatus,
    utcnow,
)
from app.resources import Resources, open_resources
from app.workspaces.jobs.subscriptions import JobSubscriptions
from tests.support.factories import SignedIn
from tests.support.http import direct_client
from tests.support.ports import reserved_port
from tests.support.waiting import SOON

# Seconds: far more than anything here takes.


async def make_workspace(
    resources: Resources, user: User, status: WorkspaceStatus = WorkspaceStatus.RUNNING, *, template: str = "hello"
) -> Workspace:
    """A workspace in the database."""
    workspace = Workspace(
        user_id=user.id, template=template, generation=1, desired_state=DesiredState.RUNNING, status=status
    )
    async with resources.unit_of_work() as session:
        session.add(workspace)
    return workspace


async def make_job(resources: Resources, user: User, state: JobState = JobState.QUEUED) -> Job:
    """A job of a new workspace, with the beginning of a timeline."""
    workspace = await make_workspace(resources, user, WorkspaceStatus.QUEUED)
    job = Job(
        workspace_id=workspace.id,
        user_id=user.id,
        template=workspace.template,
        kind=JobKind.LAUNCH,
        generation=1,
        previous_status=WorkspaceStatus.STOPPED,
        state=state,
        step=JobStep.QUEUED if state in LIVE_STATES else JobStep.READY,
        deadline=utcnow() + timedelta(minutes=5),
    )
    async with resources.unit_of_work() as session:
        session.add(job)
        await session.flush()
        session.add(JobEvent(job_id=job.id, step=JobStep.QUEUED))
    return job


async def change_job(resources: Resources, job_id: UUID, *, progress: int = 0, state: JobState | None = None) -> None:
    """What a worker does at every step; `state` ends the job."""
    values: dict[str, object] = {"version": Job.version + 1, "progress": progress}
    if state is not None:
        values["state"] = state
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).where(Job.id == job_id).values(values))
        announce(session, job_id, ended=state is not None)


class Sent(NamedTuple):
    """One event, or a comment, whose name is empty."""

    name: str
    data: str
    id: str


class Stream:
    """An open answer, read event by event as browsers do."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self, *, seconds: float = SOON) -> Sent | None:
        """The next event or comment; None at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(seconds):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                elif fields.keys() - {"retry"}:
                    return Sent(fields.get("event", ""), fields.get("data", ""), fields.get("id", ""))
        return None

    async def rest(self, *, seconds: float = SOON) -> list[Sent]:
        """The events up to the end, without comments."""
        events = []
        while (sent := await self.next(seconds=seconds)) is not None:
            if sent.name:
                events.append(sent)
        return events

    async def silent(self, seconds: float) -> bool:
        """Whether no event comes for a while. Nothing can be read from the stream afterwards."""
        try:
            async with asyncio.timeout(seconds):
                while (sent := await self.next(seconds=seconds)) is not None and not sent.name:
                    pass
        except TimeoutError:
            return True
        return False


class Served:
    """The API behind its real server, on loopback."""

    def __init__(self, client: httpx.AsyncClient, who: SignedIn) -> None:
        self.client = client
        self._headers = who.headers

    @asynccontextmanager
    async def stream(self, path: str, *, seen: str | None = None) -> AsyncIterator[Stream]:
        """Open a stream as a client that last saw this event."""
        headers = {**self._headers, **({"Last-Event-ID": seen} if seen else {})}
        async with self.client.stream("GET", path, headers=headers) as response:
            yield Stream(response)

    async def get(self, path: str, *, seen: str | None = None) -> httpx.Response:
        """Ask, and read the answer whole."""
        headers = {**self._headers, **({"Last-Event-ID": seen} if seen else {})}
        return await self.client.get(path, headers=headers)


@asynccontextmanager
async def served(app: FastAPI, who: SignedIn) -> AsyncIterator[Served]:
    """Serve an app whose resources are open, on this event loop."""
    port = reserved_port()
    config = uvicorn.Config(app, port=port, lifespan="off", log_config=None, access_log=False, proxy_headers=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    try:
        async with direct_client(f"http://127.0.0.1:{port}") as client:
            yield Served(client, who)
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def another(settings: Settings, who: SignedIn) -> AsyncIterator[Served]:
    """Another process's API over the same servers."""
    async with open_resources(settings) as resources:
        app = create_app(settings)
        app.state.resources = resources
        app.state.watch = JobSubscriptions(resources.redis, resources.settings.instance)
        async with app.state.watch.running(resources), served(app, who) as opened:
            yield opened


async def eventually(condition: Callable[[], bool]) -> None:
    """Return once the condition holds."""

    async def look() -> bool:
        return condition()

    await eventually_so(look)


async def eventually_so(look: Callable[[], Awaitable[bool]]) -> None:
    """Return once `look` says yes."""
    async with asyncio.timeout(SOON):
        while not await look():
            await asyncio.sleep(0.01)
