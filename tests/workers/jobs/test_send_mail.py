"""Sending mail beside a worker's jobs, while the mail server is slow or dies, and the worker too."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from app.auth.magic_links import LEASE
from app.core.outbox import JobName, enqueue
from app.core.settings.model import Settings
from app.mail.sender import SmtpMailer
from app.models import LinkPurpose, LinkRequest, LinkRequestState, utcnow
from app.resources import Resources
from tests.conftest import TestWorker
from tests.support.clocks import Time
from tests.support.emails import PostOffice, open_post_office
from tests.support.link_requests import make_due, make_request, request_of
from workers.jobs import send_mail
from workers.jobs.deliveries import Deliveries
from workers.jobs.send_mail import deliver

QUEUED, SENT, FAILED = LinkRequestState.QUEUED, LinkRequestState.SENT, LinkRequestState.FAILED


@pytest.fixture
async def office(worker: TestWorker, settings: Settings) -> Any:
    """The worker's mail server."""
    async with open_post_office() as opened:
        mailer = SmtpMailer(f"smtp://127.0.0.1:{opened.port}", settings.mail_from)
        worker.context = replace(worker.context, mailer=mailer, deliveries=Deliveries())
        worker.use(worker.context)
        yield opened
        opened.answering.set()
        await worker.context.deliveries.finish()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def put_into_queue(resources: Resources, address: str) -> UUID:
    wanted = await make_request(resources, address)
    async with resources.unit_of_work() as session:
        enqueue(session, JobName.SEND_LINK, wanted)
    return wanted


async def die_waiting(worker: TestWorker, office: PostOffice, wanted: UUID) -> None:
    """A worker that is killed after it has transmitted the letter, before it hears the answer."""
    before = len(office.received)
    work = asyncio.create_task(deliver(worker.context, wanted))
    await until(lambda: len(office.received) > before)
    work.cancel()
    await asyncio.wait({work})


async def test_a_mail_that_waits_for_its_answer_takes_no_jobs_place(
    settings: Settings, resources: Resources, worker: TestWorker, office: PostOffice
) -> None:
    settings.worker_jobs = 1
    office.answering.clear()
    async with worker.running(reconciling=False):
        ids = [await put_into_queue(resources, f"user{number}@example.org") for number in range(3)]
        await until(lambda: len(office.received) == 3)
        assert [(await request_of(resources, wanted)).state for wanted in ids] == [QUEUED] * 3
        office.answering.set()
        await worker.context.deliveries.finish()
    assert [(await request_of(resources, wanted)).state for wanted in ids] == [SENT] * 3
    assert len(office.received) == 3


async def test_an_answer_that_comes_late_counts(resources: Resources, worker: TestWorker, office: PostOffice) -> None:
    """Others who look meanwhile leave the mail alone: its claim is renewed."""
    office.answering.clear()
    wanted = await make_request(resources)
    work = asyncio.create_task(deliver(worker.context, wanted))
    await until(lambda: len(office.received) == 1)
    for _ in range(3):
        await deliver(worker.context, wanted)
    office.answering.set()
    await work
    row = await request_of(resources, wanted)
    assert (row.state, row.attempts, len(office.received)) == (SENT, 1, 1)


async def test_a_claim_is_renewed_while_the_server_thinks(
    resources: Resources, worker: TestWorker, office: PostOffice, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_mail, "RENEW_SECONDS", 0.05)
    office.answering.clear()
    wanted = await make_request(resources)
    work = asyncio.create_task(deliver(worker.context, wanted))
    await until(lambda: len(office.received) == 1)
    for _ in range(3):
        # Nearly the whole lease: without renewals the third step would be past it.
        time.pass_(seconds=25)
        async with asyncio.timeout(60):
            while (await request_of(resources, wanted)).run_at <= utcnow() + LEASE / 2:
                await asyncio.sleep(0.01)
        await deliver(worker.context, wanted)
    office.answering.set()
    await work
    assert len(office.received) == 1


async def test_workers_that_die_waiting_for_the_answer_send_two_mails_at_most(
    resources: Resources, worker: TestWorker, office: PostOffice
) -> None:
    office.answering.clear()
    wanted = await make_request(resources)
    for _ in range(2):
        await die_waiting(worker, office, wanted)
        assert (await request_of(resources, wanted)).state is QUEUED
        await make_due(resources, wanted)
    for _ in range(3):
        await deliver(worker.context, wanted)
    row = await request_of(resources, wanted)
    assert (row.state, len(office.received), row.finished_at is not None) == (FAILED, 2, True)


async def test_a_server_that_hangs_up_after_the_letter_gets_it_twice_at_most(
    resources: Resources, worker: TestWorker, office: PostOffice
) -> None:
    office.hangs_up = True
    wanted = await make_request(resources)
    for _ in range(5):
        await deliver(worker.context, wanted)
        await make_due(resources, wanted)
    assert (len(office.received), (await request_of(resources, wanted)).state) == (2, FAILED)


async def test_a_letter_that_the_server_did_not_take_is_tried_as_often_as_there_is_time(
    resources: Resources, worker: TestWorker, office: PostOffice
) -> None:
    office.data_answers = ["451 later"] * 6
    wanted = await make_request(resources)
    for _ in range(7):
        await deliver(worker.context, wanted)
        await make_due(resources, wanted)
    row = await request_of(resources, wanted)
    assert (row.state, row.attempts, row.transmissions, len(office.received)) == (SENT, 7, 1, 1)


async def test_a_worker_that_lost_its_claim_before_the_letter_transmits_nothing(
    resources: Resources, worker: TestWorker, office: PostOffice
) -> None:
    wanted = await make_request(resources, purpose=LinkPurpose.SIGNUP)

    async def overtake() -> None:
        async with resources.unit_of_work() as session:
            await session.execute(update(LinkRequest).values(attempts=7))

    office.before = overtake
    await deliver(worker.context, wanted)
    row = await request_of(resources, wanted)
    assert (row.state, row.attempts, row.transmissions, office.received) == (QUEUED, 7, 0, [])


async def test_mails_wait_unclaimed_while_too_many_are_under_way(
    resources: Resources, worker: TestWorker, office: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.context.deliveries, "_slots", asyncio.Semaphore(1))
    office.answering.clear()
    ids = [await make_request(resources, f"user{number}@example.org") for number in range(2)]
    for wanted in ids * 2:
        await send_mail.send_link({"worker": worker.context}, str(wanted))
    await until(lambda: len(office.received) == 1)
    assert [(await request_of(resources, wanted)).attempts for wanted in ids] == [1, 0]
    office.answering.set()
    await worker.context.deliveries.finish()
    assert [(await request_of(resources, wanted)).attempts for wanted in ids] == [1, 1]


async def test_a_worker_that_ends_cuts_off_what_takes_too_long(
    resources: Resources, worker: TestWorker, office: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.jobs.deliveries.CLOSE_SECONDS", 0.05)
    office.answering.clear()
    wanted = await make_request(resources)
    await send_mail.send_link({"worker": worker.context}, str(wanted))
    await until(lambda: len(office.received) == 1)
    async with asyncio.timeout(60):
        await worker.context.deliveries.close()
    row = await request_of(resources, wanted)
    assert (row.state, row.transmissions) == (QUEUED, 1)
