"""Warm seats that a test wants, makes and looks at."""

from typing import Any

from sqlalchemy import select

from app.models import Seat, SeatState
from app.resources import Resources
from app.workspaces.seat_plan import plan
from tests.conftest import TestWorker
from workers.loops.warm_seats import work


def want(resources: Resources, count: int, template: str = "hello", **changes: Any) -> None:
    """Let the catalogue want so many seats of a template."""
    changes["warm"] = count
    templates = [one.model_copy(update=changes) if one.key == template else one for one in resources.catalog.templates]
    object.__setattr__(resources.catalog, "templates", tuple(templates))


async def fill(resources: Resources, worker: TestWorker) -> None:
    """One pass of the loop."""
    async with resources.unit_of_work() as session:
        await plan(session, resources)
    await work(worker.context)


async def read_seats(resources: Resources, *states: SeatState) -> list[Seat]:
    """All seats of these states, or of all."""
    async with resources.reads() as session:
        query = select(Seat).where(Seat.state.in_(states or tuple(SeatState))).order_by(Seat.created_at)
        return list(await session.scalars(query))
