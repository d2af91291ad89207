"""What waits in Redis for workers."""

from app.core import clock
from app.core.outbox import JobName, queue_key
from app.resources import Resources


async def messages(resources: Resources, *names: JobName) -> list[str]:
    """The ids of what waits in these queues, or in all, without the installation's name."""
    instance = resources.settings.instance
    found = [await resources.redis.zrange(queue_key(instance, name), 0, -1) for name in names or JobName]
    return [message.decode().removeprefix(f"{instance}:") for queue in found for message in queue]


async def queued(resources: Resources) -> set[str]:
    """The jobs that wait, as name and id."""
    return {message.rpartition(":")[0] for message in await messages(resources)}


async def due(resources: Resources) -> int:
    """How many messages wait for nothing but a worker."""
    now = clock.system().timestamp() * 1000
    keys = [queue_key(resources.settings.instance, name) for name in JobName]
    return sum([await resources.redis.zcount(key, "-inf", now) for key in keys])
