"""`python -m workers`: one worker process, until SIGTERM."""

from app import log
from app.settings import load_settings
from workers.worker import Worker

if __name__ == "__main__":
    settings = load_settings()
    log.configure(pretty=settings.environment == "development")
    Worker(settings).run()
