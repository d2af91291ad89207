"""The same work done twice, in turns: by the engine alone through aiodocker, and by the API until `running`.

Raw means what one workspace costs the engine whoever asks: its network, its container, the start. The container's
own network is part of it, because isolation is not optional; the table also names the bare container's figure.
"""

import asyncio
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import aiodocker
import httpx
from aiodocker.containers import DockerContainer
from aiodocker.networks import DockerNetwork
from sqlalchemy import func, select

from app.models import Network
from app.resources import Resources, open_resources
from app.workspaces import container_spec
from tests.support.factories import SignedIn, sign_in
from tests.support.stack import RunningStack

ROUNDS = 15
AT_ONCE = 16
BATCHES = 3
MEANWHILE = 10
IMAGE = "spawner/hello:1"
EXTRA_MILLISECONDS = 80
SHARE = 0.9
POST_MILLISECONDS = 25


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    target: str
    measured: str
    verdict: str


class Raw:
    """One workspace's worth of engine calls, without Spawner."""

    def __init__(self, docker: aiodocker.Docker, stack: RunningStack) -> None:
        self._docker = docker
        self._label = {"spawner.instance": stack.instance}
        self._settings = stack.load_settings().model_copy(update={"network_range": "10.218.0.0/16"})
        self._next = 0
        self._made: list[DockerContainer | DockerNetwork] = []

    async def run(self) -> float:
        """Network, container, start. Milliseconds."""
        self._next += 1
        name = f"raw-{secrets.token_hex(4)}"
        started = time.perf_counter()
        network = await self._docker.networks.create(
            {
                "Name": name,
                "Labels": self._label,
                "IPAM": {"Config": [{"Subnet": container_spec.network(self._settings, self._next).subnet}]},
            }
        )
        self._made.append(network)
        return await self._container(name, started)

    async def bare(self) -> float:
        """Container and start on the engine's shared bridge. Milliseconds."""
        return await self._container("bridge", time.perf_counter())

    async def _container(self, network: str, started: float) -> float:
        container = await self._docker.containers.create(
            {
                "Image": IMAGE,
                "Labels": self._label,
                "User": "65534",
                "HostConfig": {
                    "NetworkMode": network,
                    "Memory": 64 << 20,
                    "MemorySwap": 64 << 20,
                    "NanoCpus": 500_000_000,
                    "PidsLimit": 64,
                    "CapDrop": ["ALL"],
                    "SecurityOpt": ["no-new-privileges"],
                    "ReadonlyRootfs": True,
                    "Init": True,
                    "Tmpfs": {"/tmp": ""},
                },
            }
        )
        await container.start()
        self._made.append(container)
        return (time.perf_counter() - started) * 1000

    async def clean(self) -> None:
        """Remove what was made, newest first; not measured."""
        for made in reversed(self._made):
            await (made.delete(force=True, v=True) if isinstance(made, DockerContainer) else made.delete())
        self._made.clear()


class Platform:
    """The same through the API, as a client sees it: POST launch, then long-poll until the job has ended."""

    def __init__(self, stack: RunningStack, client: httpx.AsyncClient, users: list[SignedIn]) -> None:
        self._url = stack.public_url
        self._client = client
        self._users = users
        self._launched: list[dict[str, str]] = []
        self.posts: list[float] = []
        self.timelines: list[list[dict[str, str]]] = []

    async def post(self) -> tuple[dict[str, str], str]:
        """A new user's first launch of hello, accepted; returns the user's headers and the job's address."""
        headers = self._users.pop().headers
        self._launched.append(headers)
        started = time.perf_counter()
        answer = await self._client.post(f"{self._url}/api/container/launch/hello", headers=headers)
        self.posts.append((time.perf_counter() - started) * 1000)
        assert answer.status_code == 202, answer.text
        return headers, answer.json()["status_url"]

    async def launch(self) -> float:
        """Post, then follow the job. Milliseconds until `running`."""
        started = time.perf_counter()
        await self.follow(*await self.post())
        return (time.perf_counter() - started) * 1000

    async def follow(self, headers: dict[str, str], job_url: str) -> None:
        """Long-poll until the job has succeeded."""
        tag = ""
        while True:
            job = await self._client.get(
                f"{self._url}{job_url}",
                params={"wait": 20},
                headers={**headers, "If-None-Match": tag} if tag else headers,
            )
            tag = job.headers["etag"]
            if job.status_code == 200 and job.json()["state"] not in ("queued", "running"):
                assert job.json()["state"] == "succeeded", job.text
                self.timelines.append(job.json()["timeline"])
                return

    async def clean(self) -> None:
        """Delete what was launched, as its owners would; not measured. Its networks are ready for the next ones."""
        asked = [self._client.delete(f"{self._url}/api/container/hello", headers=headers) for headers in self._launched]
        answers = await asyncio.gather(*asked)
        jobs = [answer.json()["status_url"] for answer in answers]
        timelines = len(self.timelines)
        await asyncio.gather(*(self.follow(*job) for job in zip(self._launched, jobs, strict=True)))
        del self.timelines[timelines:]
        self._launched.clear()

    async def posts_meanwhile(self) -> None:
        """Sixteen accepted launches keep the engine busy; ten more users launch, one after the other."""
        busy = await asyncio.gather(*(self.post() for _ in range(AT_ONCE)))
        self.posts.clear()
        accepted = [await self.post() for _ in range(MEANWHILE)]
        await asyncio.gather(*(self.follow(*job) for job in (*busy, *accepted)))


async def pool_is_full(resources: Resources) -> None:
    """Wait for the networks that an installation at rest has ready."""
    ready = select(func.count()).where(Network.workspace_id.is_(None), Network.ready)
    async with asyncio.timeout(60):
        while True:
            async with resources.reads() as session:
                if (await session.scalar(ready) or 0) >= resources.settings.network_pool:
                    return
            await asyncio.sleep(0.2)


async def at_once(one: Callable[[], Awaitable[float]]) -> float:
    """Launches a second, of sixteen begun together."""
    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    return AT_ONCE / (time.perf_counter() - started)


async def warm_up(raw: Raw, platform: Platform, resources: Resources) -> None:
    """Run everything that is measured once, and clean up."""
    for one in (raw.bare, raw.run, platform.launch, platform.launch):
        await one()
    await raw.clean()
    await platform.clean()
    await pool_is_full(resources)


async def measure(stack: RunningStack) -> list[Row]:
    """Raw and platform in turns, so that a noisy minute hits both."""
    async with (
        aiodocker.Docker(stack.engine.url) as docker,
        httpx.AsyncClient(timeout=60, trust_env=False) as client,
        open_resources(stack.load_settings()) as resources,
    ):
        count = ROUNDS + (BATCHES + 2) * AT_ONCE + MEANWHILE + 2
        users = [await sign_in(resources, f"bench{number}") for number in range(count)]
        raw, platform = Raw(docker, stack), Platform(stack, client, users)
        await warm_up(raw, platform, resources)
        bare, alone, through = [], [], []
        for _ in range(ROUNDS):
            bare.append(await raw.bare())
            alone.append(await raw.run())
            await raw.clean()
            through.append(await platform.launch())
            await platform.clean()
        alone_posts = statistics.median(platform.posts)
        gaps = breakdown(platform.timelines[2:])
        platform.posts.clear()
        raw_rates, rates = [], []
        for _ in range(BATCHES):
            raw_rates.append(await at_once(raw.run))
            await raw.clean()
            await pool_is_full(resources)
            rates.append(await at_once(platform.launch))
            await platform.clean()
        burst_posts = statistics.median(platform.posts)
        stack.remove_containers()
        without_networks = await at_once(platform.launch)
        await platform.clean()
        await pool_is_full(resources)
        await platform.posts_meanwhile()
    return [
        *rows(
            bare=statistics.median(bare),
            alone=statistics.median(alone),
            through=statistics.median(through),
            raw_rate=statistics.median(raw_rates),
            rate=statistics.median(rates),
            without_networks=without_networks,
            posts=(alone_posts, statistics.median(platform.posts), burst_posts),
        ),
        *gaps,
    ]


def breakdown(timelines: list[list[dict[str, str]]]) -> list[Row]:
    """Medians of what lies between the steps of a launch, one at a time."""
    found: dict[str, list[float]] = {}
    for timeline in timelines:
        for one, next_one in pairwise(timeline):
            took = datetime.fromisoformat(next_one["at"]) - datetime.fromisoformat(one["at"])
            found.setdefault(f"{one['step']} → {next_one['step']}", []).append(took.total_seconds() * 1000)
    return [Row(f"step {name}", "", f"{statistics.median(times):.0f} ms", "") for name, times in found.items()]


def rows(
    *,
    bare: float,
    alone: float,
    through: float,
    raw_rate: float,
    rate: float,
    without_networks: float,
    posts: tuple[float, float, float],
) -> list[Row]:
    """The table, with a verdict where there is a target."""
    extra, share = through - alone, rate / raw_rate

    def verdict(reached: bool) -> str:
        return "reached" if reached else "MISSED"

    def post(milliseconds: float) -> tuple[str, str]:
        return f"{milliseconds:.1f} ms", verdict(milliseconds < POST_MILLISECONDS)

    return [
        Row("bare container on a shared network, 1 at once", "", f"{bare:.0f} ms", ""),
        Row("raw: own network + create + start, 1 at once", "", f"{alone:.0f} ms", ""),
        Row(
            "launch through the API until running, 1 at once",
            f"raw + {EXTRA_MILLISECONDS} ms",
            f"{through:.0f} ms (raw + {extra:.0f})",
            verdict(extra <= EXTRA_MILLISECONDS),
        ),
        Row(f"raw, {AT_ONCE} at once", "", f"{raw_rate:.2f} a second", ""),
        Row(
            f"launches through the API, {AT_ONCE} at once",
            f"{SHARE} of raw",
            f"{rate:.2f} a second ({share:.2f} of raw)",
            verdict(share >= SHARE),
        ),
        Row(
            f"the same with no network ready, {AT_ONCE} at once",
            "",
            f"{without_networks:.2f} a second ({without_networks / raw_rate:.2f} of raw)",
            "",
        ),
        Row("POST launch, median, alone", f"under {POST_MILLISECONDS} ms", *post(posts[0])),
        Row(f"POST launch, median, while {AT_ONCE} launches run", f"under {POST_MILLISECONDS} ms", *post(posts[1])),
        Row(f"POST launch, median, {AT_ONCE} in the same instant", "", f"{posts[2]:.0f} ms", ""),
    ]
