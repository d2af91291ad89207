"""Everything that may happen to an installation, by name. A fault begins before its `yield` and is over after it."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

from arq.connections import ArqRedis
from redis.exceptions import RedisError

from app.core.outbox import QUEUE, JobName, deserialize, serialize
from app.runtime.docker.objects import INSTANCE, NETWORK, WORKSPACE
from deploy.stack.services import ensure_database
from tests.chaos.arena import Arena
from tests.chaos.daemon import own_daemon, restart

Fault = Callable[[Arena], AbstractAsyncContextManager[None]]
FAULTS: dict[str, Fault] = {}


def fault(body: Callable[[Arena], AsyncIterator[None]]) -> Fault:
    """Register a fault by the name of its function."""
    made = asynccontextmanager(body)
    FAULTS[body.__name__.replace("_", "-")] = made
    return made


@fault
async def workers_killed(arena: Arena) -> AsyncIterator[None]:
    """SIGKILL, at whatever they are doing."""
    for name in list(arena.stack.workers):
        arena.stack.kill_worker(name)
        await arena.last(2)
    yield


@fault
async def api_killed(arena: Arena) -> AsyncIterator[None]:
    arena.stack.restart_part("api")
    await arena.last(3)
    yield


@fault
async def proxy_restarted(arena: Arena) -> AsyncIterator[None]:
    arena.stack.restart_part("caddy")
    await arena.last(2)
    yield


@fault
async def redis_stopped(arena: Arena) -> AsyncIterator[None]:
    """Away for a while, and empty when it comes back."""
    await asyncio.to_thread(arena.stack.stop_redis)
    try:
        await arena.last(5)
    finally:
        await asyncio.to_thread(arena.stack.start_redis)
    yield


@fault
async def redis_flushed(arena: Arena) -> AsyncIterator[None]:
    for _ in range(5):
        await arena.resources.redis.flushall()
        await arena.last(0.7)
    yield


@fault
async def postgres_restarted(arena: Arena) -> AsyncIterator[None]:
    children = arena.stack.services.children
    await asyncio.to_thread(children.stop, "postgres")
    try:
        await arena.last(3)
    finally:
        children.start("postgres")
        sockets = Path(arena.stack.services.database_url.partition("?host=")[2]).parent
        await asyncio.to_thread(ensure_database, sockets, "spawner", sockets.parent / "postgres.log")
    yield


@fault
async def messages_repeated(arena: Arena) -> AsyncIterator[None]:
    """Every job that was ever accepted comes again, several times, in any order."""
    redis = arena.resources.redis
    queue = ArqRedis(
        pool_or_conn=redis.connection_pool,
        job_serializer=serialize,
        job_deserializer=deserialize,
        default_queue_name=QUEUE,
    )
    for _ in range(3):
        ids = list(arena.load.accepted)[-100:] * 3
        arena.dice.shuffle(ids)
        for job_id in ids:
            with suppress(RedisError):
                await queue.enqueue_job(JobName.DRIVE, str(job_id), _job_id=f"chaos:{secrets.token_hex(8)}")
        await arena.last(2)
    yield


@fault
async def containers_killed(arena: Arena) -> AsyncIterator[None]:
    for container in await arena.victims(5):
        await arena.docker("kill", container)
    yield


@fault
async def containers_paused(arena: Arena) -> AsyncIterator[None]:
    """Half of them are let go again."""
    ids = await arena.victims(6)
    for container in ids:
        await arena.docker("pause", container)
    await arena.last(3)
    for container in ids[::2]:
        await arena.docker("unpause", container)
    yield


@fault
async def containers_removed(arena: Arena) -> AsyncIterator[None]:
    for container in await arena.victims(5):
        await arena.docker("rm", "--force", container)
    yield


@fault
async def ghosts(arena: Arena) -> AsyncIterator[None]:
    """Containers and networks that carry our label and belong to nobody."""
    label = f"{INSTANCE}={arena.stack.instance}"
    for _ in range(2):
        nobody = uuid4()
        name = f"{arena.stack.instance}-ghost{nobody.hex[:6]}"
        labels = ["--label", label, "--label", f"{WORKSPACE}={nobody}"]
        await arena.docker("run", "--detach", "--init", "--network", "none", "--name", name, *labels, "spawner/hello:1")
    labels = ["--label", label, "--label", f"{NETWORK}=workspace"]
    await arena.docker("network", "create", *labels, f"{arena.stack.instance}.ghost")
    yield


@fault
async def disk_full(arena: Arena) -> AsyncIterator[None]:
    """Workers report no room: launches wait, and go on afterwards."""
    arena.control.fill_disk(True)
    try:
        await arena.last(8)
    finally:
        arena.control.fill_disk(False)
    yield


@fault
async def clock_jumped(arena: Arena) -> AsyncIterator[None]:
    """First past every lease, then past every deadline."""
    for seconds in (10, 400):
        arena.control.jump(seconds)
        await arena.last(3)
    yield


@fault
async def engine_frozen(arena: Arena) -> AsyncIterator[None]:
    daemon = own_daemon(arena.stack.engine)
    os.kill(daemon, signal.SIGSTOP)
    try:
        await arena.last(20)
    finally:
        os.kill(daemon, signal.SIGCONT)
    yield


@fault
async def engine_restarted(arena: Arena) -> AsyncIterator[None]:
    await asyncio.to_thread(restart, arena.stack.engine)
    yield
