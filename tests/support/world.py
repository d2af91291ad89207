"""What all runs of the state machine share: connections, a clock that is set, and a database that notes each move."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import create_async_engine

from app.core import clock
from app.core.settings.model import Settings
from app.resources import Resources, open_resources
from tests.support.tables import EMPTY_TABLES

T = TypeVar("T")

# The database itself notes what happens to rows: no write of the code's escapes it.
NOTE = """
CREATE TABLE IF NOT EXISTS noted (id bigserial PRIMARY KEY, old text, new text, fell boolean);
TRUNCATE noted;
GRANT SELECT ON noted TO PUBLIC;
CREATE OR REPLACE FUNCTION note_workspace() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  INSERT INTO noted (old, new, fell) VALUES (OLD.status, NEW.status, NEW.generation < OLD.generation); RETURN NEW;
END $$;
CREATE OR REPLACE FUNCTION note_job() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  INSERT INTO noted (old, new, fell) VALUES (OLD.state, NEW.state, true); RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER note_workspace AFTER UPDATE ON workspaces FOR EACH ROW
  WHEN (OLD.status <> NEW.status OR OLD.generation <> NEW.generation) EXECUTE FUNCTION note_workspace();
CREATE OR REPLACE TRIGGER note_job AFTER UPDATE ON jobs FOR EACH ROW
  WHEN (OLD.state NOT IN ('queued', 'running') AND OLD.state <> NEW.state) EXECUTE FUNCTION note_job();
"""
FORGET = """
DROP TRIGGER IF EXISTS note_workspace ON workspaces; DROP TRIGGER IF EXISTS note_job ON jobs;
DROP FUNCTION IF EXISTS note_workspace; DROP FUNCTION IF EXISTS note_job; DROP TABLE IF EXISTS noted;
"""


class World:
    """Connections that all runs of the machine share, on a loop of their own."""

    def __init__(self, settings: Settings, owner_url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.settings = settings.model_copy(update={"launches_at_once": 2, "network_pool": 2, "lease_seconds": 15.0})
        self._exits = AsyncExitStack()
        self._owner = create_async_engine(owner_url)
        self.resources: Resources
        self.ahead = timedelta(0)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def open(self) -> None:
        async def opened() -> None:
            self.resources = await self._exits.enter_async_context(open_resources(self.settings))

        self.run(opened())
        clock.source = lambda: clock.system() + self.ahead

    def close(self) -> None:
        clock.source = clock.system
        self.run(self.script(FORGET))
        self.run(self._exits.aclose())
        self.run(self._owner.dispose())
        self.loop.close()

    async def script(self, statements: str) -> None:
        async with self._owner.begin() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw is not None
            await raw.execute(statements)

    async def clear(self) -> None:
        await self.script(f"{NOTE} {EMPTY_TABLES}")
        await self.resources.redis.flushall()
        self.ahead = timedelta(0)
