"""Names in Redis, prefixed by installation: several may share one database."""


def redis_key(instance: str, *parts: str) -> str:
    """Return the name of an installation's key or channel."""
    return ":".join(("spawner", instance, *parts))
