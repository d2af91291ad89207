"""The outbox of links: who claims a request, when it is tried again, and when it is given up."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from app.auth import magic_links
from app.auth.magic_links import LEASE, EmailDelivery, claim_link, mark_sent, requeue_links, reschedule
from app.models import LinkPurpose, LinkRequest, LinkRequestState
from app.resources import Resources
from tests.support.clocks import Time
from tests.support.queues import messages

LAST = timedelta(microseconds=1)
QUEUED, SENT, FAILED = LinkRequestState.QUEUED, LinkRequestState.SENT, LinkRequestState.FAILED


@pytest.fixture(autouse=True)
def stopped(time: Time) -> Time:
    return time


def delivery_of(request: LinkRequest, attempt: int) -> EmailDelivery:
    return EmailDelivery(request.id, attempt, request.expires_at, None)


async def states(resources: Resources) -> dict[object, LinkRequestState]:
    async with resources.sessions() as session:
        return {row.id: row.state for row in await session.scalars(select(LinkRequest))}


async def wish(resources: Resources, time: Time, **columns: object) -> LinkRequest:
    """A wish for a link that lives ten minutes from now."""
    values = {"purpose": LinkPurpose.SIGNUP, "locale": "en", "run_at": time.now, **columns}
    request = LinkRequest(email="alice@example.org", expires_at=time.now + timedelta(minutes=10), **values)
    async with resources.unit_of_work() as session:
        session.add(request)
    return request


async def test_a_request_to_claim(resources: Resources, time: Time) -> None:
    request = await wish(resources, time)

    async def claim() -> object:
        async with resources.unit_of_work() as session:
            found = await claim_link(session, resources, request.id)
            await session.execute(update(LinkRequest).values(attempts=0))
            return found

    start = time.now
    time.now = start + timedelta(minutes=10) - LAST
    assert await claim()
    time.now = start + timedelta(minutes=10)
    assert not await claim()


async def test_a_claim_keeps_others_away_for_the_lease(resources: Resources, time: Time) -> None:
    request = await wish(resources, time)

    async def claim() -> EmailDelivery | None:
        async with resources.unit_of_work() as session:
            return await claim_link(session, resources, request.id)

    async def is_held() -> object:
        return await claim() is None

    first = await claim()
    assert first is not None
    assert (first.request_id, first.attempt, first.expires_at) == (request.id, 1, request.expires_at)
    start = time.now
    time.now = start + LEASE - LAST
    assert await is_held()
    time.now = start + LEASE
    second = await claim()
    assert second is not None
    assert second.attempt == 2


async def test_the_first_attempt_looks_at_no_clock(resources: Resources, time: Time) -> None:
    request = await wish(resources, time, run_at=time.now + timedelta(minutes=1))
    async with resources.unit_of_work() as session:
        assert await claim_link(session, resources, request.id)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (11, 60), (12, 60)])
async def test_a_letter_is_put_off_twice_as_long_each_time(
    resources: Resources, time: Time, attempt: int, seconds: int
) -> None:
    request = await wish(resources, time, attempts=attempt)
    async with resources.unit_of_work() as session:
        await reschedule(session, delivery_of(request, attempt))
    async with resources.sessions() as session:
        row = await session.get_one(LinkRequest, request.id)
    assert (row.run_at - time.now).total_seconds() == seconds
    assert row.state is QUEUED


@pytest.mark.parametrize(("left", "state"), [(1, FAILED), (1.001, QUEUED)])
async def test_a_letter_that_would_come_too_late_is_given_up(
    resources: Resources, time: Time, left: float, state: LinkRequestState
) -> None:
    request = await wish(resources, time, attempts=1)
    time.pass_(seconds=600 - left)
    async with resources.unit_of_work() as session:
        await reschedule(session, delivery_of(request, 1))
    async with resources.sessions() as session:
        row = await session.get_one(LinkRequest, request.id)
    assert row.state is state
    assert row.finished_at == (time.now if state is FAILED else None)


async def test_a_request_is_sent_again_from_its_time_on_and_given_up_at_its_end(
    resources: Resources, time: Time
) -> None:
    request = await wish(resources, time, run_at=time.now + timedelta(minutes=1))

    async def requeue() -> tuple[int, LinkRequestState]:
        async with resources.unit_of_work() as session:
            sent = await requeue_links(session)
        async with resources.sessions() as session:
            return sent, (await session.get_one(LinkRequest, request.id)).state

    start = time.now
    found = []
    for at in (timedelta(minutes=1) - LAST, timedelta(minutes=1), timedelta(minutes=10) - LAST, timedelta(minutes=10)):
        time.now = start + at
        found.append(await requeue())
    assert found == [(0, QUEUED), (1, QUEUED), (1, QUEUED), (0, FAILED)]


@pytest.mark.parametrize("changed", [{"attempts": 2}, {"state": SENT}], ids=["taken over", "sent"])
@pytest.mark.parametrize("settle", ["put_off", "mark_sent"])
async def test_an_attempt_that_is_not_the_current_one_changes_nothing(
    resources: Resources, time: Time, changed: dict[str, Any], settle: str
) -> None:
    request = await wish(resources, time, attempts=1)
    async with resources.unit_of_work() as session:
        await session.execute(update(LinkRequest).values(**changed))
    time.pass_(seconds=1)
    async with resources.unit_of_work() as session:
        await {"put_off": reschedule, "mark_sent": mark_sent}[settle](session, delivery_of(request, 1))
    async with resources.sessions() as session:
        row = await session.get_one(LinkRequest, request.id)
    assert (row.state, row.finished_at) == (changed.get("state", QUEUED), None)
    assert row.run_at == request.run_at
    assert await messages(resources) == []


async def test_only_the_letter_that_is_put_off_waits_longer(resources: Resources, time: Time) -> None:
    request, other = await wish(resources, time, attempts=1), await wish(resources, time, attempts=1)
    start = time.now
    async with resources.unit_of_work() as session:
        await reschedule(session, delivery_of(request, 1))
        await reschedule(session, EmailDelivery(uuid4(), 1, request.expires_at, None))
    async with resources.sessions() as session:
        runs = {row.id: row.run_at for row in await session.scalars(select(LinkRequest))}
    assert runs == {request.id: start + timedelta(seconds=1), other.id: start}
    assert await messages(resources) == [f"send_link:{request.id}:1"]


async def test_what_is_too_late_is_given_up_and_what_is_over_left_alone(resources: Resources, time: Time) -> None:
    end = time.now + timedelta(minutes=10)
    late = await wish(resources, time, run_at=end)
    leased = await wish(resources, time, run_at=end + LAST)
    sent = await wish(resources, time, state=SENT)
    time.now = end
    async with resources.unit_of_work() as session:
        assert await requeue_links(session) == 0
    async with resources.sessions() as session:
        found = {row.id: (row.state, row.finished_at) for row in await session.scalars(select(LinkRequest))}
    assert found == {late.id: (FAILED, end), leased.id: (QUEUED, None), sent.id: (SENT, None)}


async def test_the_longest_waiting_are_sent_first_with_their_number_of_attempts(
    resources: Resources, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(magic_links, "REQUEUE_BATCH", 2)
    start = time.now
    waiting = [
        await wish(resources, time, run_at=start + timedelta(seconds=seconds), attempts=seconds)
        for seconds in (3, 1, 2)
    ]
    await wish(resources, time, state=SENT)
    time.now = start + timedelta(seconds=5)
    async with resources.unit_of_work() as session:
        assert await requeue_links(session) == 2
    assert set(await messages(resources)) == {f"send_link:{waiting[1].id}:1", f"send_link:{waiting[2].id}:2"}


@pytest.mark.parametrize("state", [SENT, FAILED, LinkRequestState.DROPPED])
async def test_what_is_over_is_not_claimed_again(resources: Resources, time: Time, state: LinkRequestState) -> None:
    request = await wish(resources, time, state=state, attempts=1)
    time.pass_(minutes=1)
    async with resources.unit_of_work() as session:
        assert await claim_link(session, resources, request.id) is None
    assert await states(resources) == {request.id: state}
