"""Log lines say what went wrong, with what, for whom and in which job, and hold no secret."""

import logging
from typing import Any

import httpx
import pytest
import structlog
from redis.exceptions import AuthenticationError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from app.core import logging as log
from app.core.settings.model import Settings
from app.resources import Resources
from app.security.redaction import REMOVED, Redactor
from deploy.stack.services import Services
from tests.conftest import TestWorker
from tests.support.emails import Inbox
from tests.support.factories import sign_in


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [record.msg for record in caplog.records if isinstance(record.msg, dict) and record.msg["event"] == event]


def test_a_file_that_cannot_be_read_is_named_with_the_reason() -> None:
    with pytest.raises(OSError) as raised:  # noqa: PT011 - any
        open("/nowhere/secret_key")  # noqa: PTH123, SIM115
    assert log.cause(raised.value) == {
        "error": "FileNotFoundError",
        "cause": "No such file or directory",
        "object": "/nowhere/secret_key",
    }


async def test_what_the_database_says_of_itself_is_told_and_no_value_of_a_statement(
    resources: Resources, services: Services
) -> None:
    stranger = create_async_engine(services.database_url.replace("://spawner@", "://nobody@"))
    with pytest.raises(Exception, match="nobody") as raised:
        async with stranger.connect():
            pass
    await stranger.dispose()
    assert log.cause(raised.value)["cause"] == 'role "nobody" does not exist'
    with pytest.raises(SQLAlchemyError) as refused:
        async with resources.engine.connect() as connection:
            await connection.execute(text("SELECT CAST('canary' AS uuid)"))
    said = log.cause(refused.value)
    assert said["sqlstate"] == "22P02"
    assert "canary" not in str(said)
    with pytest.raises(SQLAlchemyError) as lacking:
        async with resources.engine.connect() as connection:
            await connection.execute(text("SELECT 1 FROM no_such_table"))
    assert log.cause(lacking.value)["cause"] == 'relation "no_such_table" does not exist'


def test_what_redis_says_is_told() -> None:
    assert log.cause(AuthenticationError("WRONGPASS invalid username-password pair")) == {
        "error": "AuthenticationError",
        "cause": "WRONGPASS invalid username-password pair",
    }


async def test_the_access_line_names_client_user_and_the_job_that_was_made(
    client: httpx.AsyncClient, resources: Resources, caplog: pytest.LogCaptureFixture
) -> None:
    alice = await sign_in(resources)
    with caplog.at_level(logging.INFO):
        launched = await client.post("/api/container/launch/hello", headers=alice.headers)
        await client.get("/api/templates")
    first, second = lines(caplog, "request")
    assert (first["user_id"], first["client"], first["job_id"]) == (
        str(alice.user.id), "127.0.0.1", launched.json()["status_url"].rpartition("/")[2],
    )  # fmt: skip
    assert first["ms"] > 0
    assert {"user_id", "job_id", "workspace_id"} & second.keys() == set()
    assert alice.user.email not in caplog.text


async def test_a_driven_job_is_one_line_with_its_user_workspace_and_time_and_no_arrow(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, caplog: pytest.LogCaptureFixture
) -> None:
    alice = await sign_in(resources)
    with caplog.at_level(logging.INFO):
        await client.post("/api/container/launch/hello", headers=alice.headers)
        await worker.drain()
    (line,) = lines(caplog, "job_attempt_ended")
    (request,) = lines(caplog, "request")
    assert (line["how"], line["kind"], line["attempt"], line["user_id"]) == ("driven", "launch", 1, str(alice.user.id))
    assert (line["job_id"], line["workspace_id"]) == (request["job_id"], request["workspace_id"])
    assert line["ms"] > 0
    assert "→" not in caplog.text
    assert "←" not in caplog.text


async def test_a_delivered_mail_is_one_line_that_its_request_leads_to_and_names_no_address(
    client: httpx.AsyncClient, worker: TestWorker, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await client.post("/api/auth/signup", json={"email": "alice@example.org"})
        await worker.drain()
    assert len(inbox.to("alice@example.org")) == 1
    (line,), (request,) = lines(caplog, "mail_sent"), lines(caplog, "request")
    assert line["link_request"] == request["link_request"]
    assert (line["attempt"], line["server"]) == (1, "127.0.0.1")
    assert line["ms"] > 0
    assert "example.org" not in "".join(map(str, lines(caplog, "mail_sent")))
    assert "alice" not in caplog.text


def test_no_line_holds_a_secret_of_the_platform(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    secret = "q7Zb0c1xK0hYkq3V"
    changes = {"redis_url": f"redis://:{secret}@redis/0"}
    before = logging.getLogger().handlers
    try:
        log.configure(pretty=False, redact=Redactor(settings.model_copy(update=changes)).redact)
        structlog.get_logger("test").warning("said", cause=f"cannot reach redis://:{secret}@redis/0")
        try:
            raise RuntimeError(secret)
        except RuntimeError:
            structlog.get_logger("test").exception("failed")
        said = capsys.readouterr().err
    finally:
        logging.getLogger().handlers = before
        log.configure(pretty=True)
    assert secret not in said
    assert said.count(REMOVED) >= 2
    assert len(said.splitlines()) == 2
