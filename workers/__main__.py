"""`python -m workers`: one worker process. SIGTERM drains it: it takes no new jobs, gives running ones some time, then
exits.
"""

import asyncio
import os

from app.catalog.loader import CatalogInvalid, load_catalog
from app.core import logging
from app.core.db import make_engine
from app.core.schema import SchemaUnfit, require_schema
from app.core.settings.model import Settings
from app.core.settings.reading import load_settings
from app.security.redaction import Redactor
from workers.options import open_worker
from workers.worker import Worker

# Handing a job back waits for its engine calls, but only this long: an unreleased lease expires.
EXIT_SECONDS = 10


def leave_in_time() -> None:
    """Exit the process if the drained worker hangs while ending."""
    asyncio.get_running_loop().call_later(EXIT_SECONDS, os._exit, 1)


def require_fit(settings: Settings) -> None:
    """Exit with a message if catalogue or schema do not fit this version."""

    try:
        load_catalog(settings.catalog, settings.allowed, digests=settings.require_digests, host_mode=settings.host_mode)
    except CatalogInvalid as invalid:
        raise SystemExit(str(invalid)) from None

    async def look() -> None:
        engine = make_engine(settings.database_url, pool_size=1)
        try:
            await require_schema(engine)
        finally:
            await engine.dispose()

    try:
        asyncio.run(look())
    except SchemaUnfit as unfit:
        raise SystemExit(str(unfit)) from None


if __name__ == "__main__":
    settings = load_settings()
    logging.configure(pretty=settings.environment == "development", redact=Redactor(settings).redact)
    require_fit(settings)
    worker = Worker(settings, open_worker(settings))
    worker.on_drained = leave_in_time
    worker.run()
