"""Processes of the platform beside the test's own."""

from app.core.settings.model import Settings


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables by which a process belongs to the installation of these settings."""
    return {
        "SPAWNER_ENVIRONMENT": "development",
        "SPAWNER_INSTANCE": settings.instance,
        "SPAWNER_SECRET_KEY": settings.secret_key,
        "SPAWNER_DATABASE_URL": settings.database_url,
        "SPAWNER_REDIS_URL": settings.redis_url,
        "SPAWNER_CATALOG": str(settings.catalog),
    }
