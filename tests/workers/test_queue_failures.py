"""Messages that a worker could not work off are events with fields, not arq's sentences."""

import inspect
import logging
from typing import Any

import arq.worker
import pytest
from arq.constants import job_key_prefix
from redis.exceptions import ConnectionError as RedisAway

from app.core import logging as log
from app.core.outbox import JobName, queue_key
from app.resources import Resources
from tests.conftest import TestWorker
from tests.support.driving import accept, failing
from tests.support.fakes import FakeRuntime
from workers.queue_failures import FAILURES


@pytest.fixture(autouse=True)
def events() -> None:
    """Lines go through the standard library, as in a worker."""
    log.configure(pretty=True)


def failures(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    events = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [event for event in events if event["event"] == "queue_job_failed"]


def test_every_format_is_still_one_of_arqs() -> None:
    source = inspect.getsource(arq.worker)
    assert [words for words in FAILURES if f"'{words}'" not in source] == []


async def test_a_function_that_raises_is_one_event_with_job_function_cause_and_duration(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    runtime.before = failing(RedisAway("nobody answers"))
    job = await accept(resources)
    await worker.drain()
    (event,) = failures(caplog)
    assert (event["level"], event["reason"]) == ("error", "raised")
    assert (event["function"], event["job_id"]) == ("launch_workspace", str(job.id))
    assert (event["error"], event["cause"]) == ("ConnectionError", "nobody answers")
    assert event["ms"] >= 0
    assert isinstance(event["exc_info"], RedisAway)
    assert [record for record in caplog.records if record.name == "arq.worker" and "!" in record.getMessage()] == []


async def test_messages_that_nobody_can_read_or_know_are_told_with_their_row(
    resources: Resources, worker: TestWorker, caplog: pytest.LogCaptureFixture
) -> None:
    instance = resources.settings.instance
    contents = {
        f"{instance}:launch_workspace:gone:1": None,
        f"{instance}:send_link:broken:0": b"{",
        f"{instance}:dance:once:0": b'{"f": "dance", "a": [], "k": {}, "et": 0, "t": 1}',
    }
    for message, content in contents.items():
        if content is not None:
            await resources.redis.set(f"{job_key_prefix}{message}", content)
        await resources.redis.zadd(queue_key(instance, JobName.LAUNCH), {message: 1})
    await worker.drain()
    told = {(event["reason"], event["function"], event["job_id"]) for event in failures(caplog)}
    assert told == {
        ("expired", "launch_workspace", "gone"),
        ("unreadable", "send_link", "broken"),
        ("unknown_function", "dance", "once"),
    }


def test_what_else_arq_says_passes(caplog: pytest.LogCaptureFixture) -> None:
    arq.worker.logger.warning("Health check failed: no health check sentinel value found")
    assert [record.name for record in caplog.records if record.levelno == logging.WARNING] == ["arq.worker"]
