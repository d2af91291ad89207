"""Plans warm seats: how many the catalogue wants, how many fit, which are surplus."""

from collections.abc import Sequence

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalog.templates import Template
from app.models import Image, Seat, SeatState, utcnow
from app.resources import Resources
from app.workspaces import admission, seats
from app.workspaces.capacity import limiting_resource
from app.workspaces.container_spec import seat_revision

# One lock id per database: one plan at a time.
PLAN_LOCK = 7_201_005
# The order in which a template's seats are kept.
_RANK = {SeatState.READY: 0, SeatState.STARTING: 1, SeatState.FAILED: 2}

Wish = tuple[Template, Seat | None]


async def plan(session: AsyncSession, resources: Resources) -> None:
    """End surplus seats, and create missing ones as far as capacity allows.

    Locks only rows that it changes; claims skip locked rows. Does nothing during another plan.
    """
    if not await session.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": PLAN_LOCK}):
        return
    await seats.end_claimed(session)
    rows = list(await session.scalars(select(Seat).where(Seat.state.in_(_RANK)).order_by(Seat.created_at)))
    warm = [template for template in resources.catalog.templates if template.warm]
    if not rows and not warm:
        return
    digests = dict((await session.execute(select(Image.name, Image.digest))).all())
    kept, missing = set(), list[Wish]()
    for template in warm:
        revision = seat_revision(resources.settings, template)
        fitting = [row for row in rows if _fits(row, template, revision, digests.get(template.image))]
        chosen = sorted(fitting, key=lambda row: _RANK[row.state])[: template.warm]
        kept |= {row.id for row in chosen}
        again = [row for row in chosen if row.state == SeatState.FAILED and row.run_at <= utcnow()]
        missing += [(template, row) for row in again] + [(template, None)] * (template.warm - len(chosen))
    if surplus := [row.id for row in rows if row.id not in kept]:
        unclaimed = (Seat.id.in_(surplus), Seat.state.in_(_RANK))
        await session.execute(update(Seat).where(*unclaimed).values(state=SeatState.ENDING, run_at=utcnow()))
    if missing:
        await _begin(session, resources, missing)


def _fits(seat: Seat, template: Template, revision: str, digest: str | None) -> bool:
    """Return whether a launch may take this seat: spec and image must be current."""
    same_image = seat.image_digest is None or digest is None or seat.image_digest == digest
    return seat.template == template.key and seat.revision == revision and same_image


async def _begin(session: AsyncSession, resources: Resources, missing: Sequence[Wish]) -> None:
    """Create seats while capacity lasts. Launches take precedence: creates none while any wait, or while many are
    starting.
    """
    settings = resources.settings
    taken = await admission.room_for_seats(session, settings)
    if taken is None:
        return
    for template, failed in missing:
        limits = template.limits
        if limiting_resource(settings, taken, limits, reserved=False) is not None:
            return
        taken.add(limits, reserved=False)
        if failed is not None:
            row = update(Seat).where(Seat.id == failed.id, Seat.state == SeatState.FAILED)
            await session.execute(row.values(state=SeatState.STARTING))
            continue
        revision = seat_revision(settings, template)
        session.add(Seat(template=template.key, revision=revision, memory=limits.memory, cpus=limits.cpus))
