"""`python -m workers`: one worker process, until SIGTERM."""

import asyncio

import uvloop

from app import log
from app.settings import load_settings
from workers.worker import Worker

if __name__ == "__main__":
    settings = load_settings()
    log.configure(pretty=settings.environment == "development")
    # The loop that uvicorn runs the API on, too: a third less of the processor for the same work.
    asyncio.set_event_loop(uvloop.new_event_loop())
    Worker(settings).run()
