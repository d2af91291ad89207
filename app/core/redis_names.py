"""Names in Redis: all begin with the installation's, since another one may use the same database."""


def redis_key(instance: str, *parts: str) -> str:
    """Name a key or a channel of one installation."""
    return ":".join(("spawner", instance, *parts))
