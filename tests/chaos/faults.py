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

from app.core.outbox import JobName, deserialize, queue_key, serialize
from app.runtime.docker.objects import INSTANCE, NETWORK, WORKSPACE
from deploy.stack.services import ensure_database
from tests.chaos.cluster import Cluster
from tests.chaos.daemon import own_daemon, restart

Fault = Callable[[Cluster], AbstractAsyncContextManager[None]]
FAULTS: dict[str, Fault] = {}


def fault(body: Callable[[Cluster], AsyncIterator[None]]) -> Fault:
    """Register a fault by the name of its function."""
    made = asynccontextmanager(body)
    FAULTS[body.__name__.replace("_", "-")] = made
    return made


@fault
async def workers_killed(cluster: Cluster) -> AsyncIterator[None]:
    """SIGKILL, at whatever they are doing."""
    for name in list(cluster.stack.workers):
        cluster.stack.kill_worker(name)
        await cluster.last(2)
    yield


@fault
async def api_killed(cluster: Cluster) -> AsyncIterator[None]:
    cluster.stack.restart_part("api")
    await cluster.last(3)
    yield


@fault
async def gateway_killed(cluster: Cluster) -> AsyncIterator[None]:
    cluster.stack.restart_part("gateway")
    await cluster.last(3)
    yield


@fault
async def proxy_restarted(cluster: Cluster) -> AsyncIterator[None]:
    cluster.stack.restart_part("caddy")
    await cluster.last(2)
    yield


@fault
async def redis_stopped(cluster: Cluster) -> AsyncIterator[None]:
    """Away for a while, and empty when it comes back."""
    await asyncio.to_thread(cluster.stack.stop_redis)
    try:
        await cluster.last(5)
    finally:
        await asyncio.to_thread(cluster.stack.start_redis)
    yield


@fault
async def redis_flushed(cluster: Cluster) -> AsyncIterator[None]:
    for _ in range(5):
        await cluster.resources.redis.flushall()
        await cluster.last(0.7)
    yield


@fault
async def postgres_restarted(cluster: Cluster) -> AsyncIterator[None]:
    children = cluster.stack.services.children
    await asyncio.to_thread(children.stop, "postgres")
    try:
        await cluster.last(3)
    finally:
        children.start("postgres")
        sockets = Path(cluster.stack.services.database_url.partition("?host=")[2]).parent
        await asyncio.to_thread(ensure_database, sockets, "spawner", sockets.parent / "postgres.log")
    yield


@fault
async def messages_repeated(cluster: Cluster) -> AsyncIterator[None]:
    """Every job that was ever accepted comes again, several times, in any order."""
    redis = cluster.resources.redis
    queue = ArqRedis(
        pool_or_conn=redis.connection_pool,
        job_serializer=serialize,
        job_deserializer=deserialize,
        default_queue_name=queue_key(cluster.resources.settings.instance, JobName.LAUNCH),
    )
    for _ in range(3):
        ids = list(cluster.load.accepted)[-100:] * 3
        cluster.dice.shuffle(ids)
        for job_id in ids:
            with suppress(RedisError):
                await queue.enqueue_job(JobName.LAUNCH, str(job_id), _job_id=f"chaos:{secrets.token_hex(8)}")
        await cluster.last(2)
    yield


@fault
async def containers_killed(cluster: Cluster) -> AsyncIterator[None]:
    for container in await cluster.victims(5):
        await cluster.docker("kill", container)
    yield


@fault
async def containers_paused(cluster: Cluster) -> AsyncIterator[None]:
    """Half of them are let go again."""
    ids = await cluster.victims(6)
    for container in ids:
        await cluster.docker("pause", container)
    await cluster.last(3)
    for container in ids[::2]:
        await cluster.docker("unpause", container)
    yield


@fault
async def containers_removed(cluster: Cluster) -> AsyncIterator[None]:
    for container in await cluster.victims(5):
        await cluster.docker("rm", "--force", container)
    yield


@fault
async def ghosts(cluster: Cluster) -> AsyncIterator[None]:
    """Containers and networks that carry our label and belong to nobody."""
    label = f"{INSTANCE}={cluster.stack.instance}"
    for _ in range(2):
        nobody = uuid4()
        name = f"{cluster.stack.instance}-ghost{nobody.hex[:6]}"
        labels = ["--label", label, "--label", f"{WORKSPACE}={nobody}"]
        await cluster.docker(
            "run", "--detach", "--init", "--network", "none", "--name", name, *labels, "spawner/hello:1"
        )
    labels = ["--label", label, "--label", f"{NETWORK}=workspace"]
    await cluster.docker("network", "create", *labels, f"{cluster.stack.instance}.ghost")
    yield


@fault
async def disk_full(cluster: Cluster) -> AsyncIterator[None]:
    """Workers report no room: launches wait, and go on afterwards."""
    cluster.control.fill_disk(True)
    try:
        await cluster.last(8)
    finally:
        cluster.control.fill_disk(False)
    yield


@fault
async def clock_jumped(cluster: Cluster) -> AsyncIterator[None]:
    """First past every lease, then past every deadline."""
    for seconds in (10, 400):
        cluster.control.jump(seconds)
        await cluster.last(3)
    yield


@fault
async def engine_frozen(cluster: Cluster) -> AsyncIterator[None]:
    daemon = own_daemon(cluster.stack.engine)
    os.kill(daemon, signal.SIGSTOP)
    try:
        await cluster.last(20)
    finally:
        os.kill(daemon, signal.SIGCONT)
    yield


@fault
async def engine_restarted(cluster: Cluster) -> AsyncIterator[None]:
    await asyncio.to_thread(restart, cluster.stack.engine)
    yield
