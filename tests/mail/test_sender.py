"""Handing letters to real SMTP servers, well and badly behaved."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.message import EmailMessage

import pytest

from app.mail import sender
from app.mail.messages import Letter
from app.mail.sender import MailDeferred, MailRefused, SmtpMailer
from tests.letters import PostOffice, text_of

FROM = "Spawner <spawner@example.org>"


def letter(to: str = "alice@example.org", subject: str = "Hello") -> Letter:
    return Letter(to=to, subject=subject, text="Grüße, a text\n", html="<p>Grüße</p>")


def mailer_for(office: PostOffice) -> SmtpMailer:
    return SmtpMailer(f"smtp://127.0.0.1:{office.port}", FROM)


def received(office: PostOffice) -> EmailMessage:
    parsed = email.message_from_bytes(office.received[-1].original_content or b"", policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


async def test_a_letter_arrives_with_both_parts_and_the_headers_of_a_machine(post_office: PostOffice) -> None:
    await mailer_for(post_office).send(letter(subject="Grüße"))
    mail = received(post_office)
    assert (mail["From"], mail["To"], mail["Subject"]) == (FROM, "alice@example.org", "Grüße")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime.tzinfo is not None
    assert mail["Message-ID"].endswith("@example.org>")
    assert text_of(mail) == "Grüße, a text\n"
    assert text_of(mail, "html").strip() == "<p>Grüße</p>"
    assert post_office.received[-1].mail_from == "spawner@example.org"
    assert post_office.received[-1].rcpt_tos == ["alice@example.org"]


async def test_an_international_address_arrives(post_office: PostOffice) -> None:
    await mailer_for(post_office).send(letter("jörg@example.org"))
    assert post_office.received[-1].rcpt_tos == ["jörg@example.org"]


@pytest.mark.parametrize(
    "hostile",
    [
        letter("alice@example.org\r\nBcc: mallory@evil.org"),
        letter("alice@example.org\nRCPT TO:<mallory@evil.org>"),
        letter("alice@example.org>, <mallory@evil.org"),
        letter("alice@example.org, mallory@evil.org"),
        letter("alice"),
        letter(""),
        letter(subject="Hello\r\nBcc: mallory@evil.org"),
        letter(subject="Hello\nX: y"),
    ],
    ids=repr,
)
async def test_nothing_is_smuggled_into_headers_or_commands(post_office: PostOffice, hostile: Letter) -> None:
    with pytest.raises(MailRefused):
        await mailer_for(post_office).send(hostile)
    assert post_office.received == []


@pytest.mark.parametrize("stage", ["answers", "data_answers"])
@pytest.mark.parametrize(
    ("reply", "outcome"), [("450 later", MailDeferred), ("550 never alice@example.org", MailRefused)]
)
async def test_the_servers_answer_decides(
    post_office: PostOffice, stage: str, reply: str, outcome: type[Exception]
) -> None:
    setattr(post_office, stage, [reply])
    with pytest.raises(outcome) as raised:
        await mailer_for(post_office).send(letter())
    assert "alice" not in f"{raised.value}{raised.value.__cause__}"


@asynccontextmanager
async def server(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """Something that listens; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


async def test_a_server_that_is_not_there_is_tried_later() -> None:
    with pytest.raises(MailDeferred):
        await SmtpMailer("smtp://127.0.0.1:1", FROM).send(letter())


async def test_a_name_that_does_not_resolve_is_tried_later() -> None:
    with pytest.raises(MailDeferred):
        await SmtpMailer("smtp://nowhere.invalid", FROM).send(letter())


async def test_a_server_that_says_nothing_is_tried_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "SECONDS", 0.2)
    release = asyncio.Event()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()

    async with server(silence) as port:
        with pytest.raises(MailDeferred):
            await SmtpMailer(f"smtp://127.0.0.1:{port}", FROM).send(letter())
        release.set()


@pytest.mark.parametrize("greeting", [b"", b"554 go away\r\n", b"junk\r\n", b"421 busy\r\n"])
async def test_a_server_that_breaks_off_is_tried_later(greeting: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()

    async with server(talk) as port:
        with pytest.raises(MailDeferred):
            await SmtpMailer(f"smtp://127.0.0.1:{port}", FROM).send(letter())


async def test_where_encryption_is_required_nothing_is_sent_without(post_office: PostOffice) -> None:
    for scheme in ("smtp+starttls", "smtps"):
        with pytest.raises(MailDeferred):
            await SmtpMailer(f"{scheme}://127.0.0.1:{post_office.port}", FROM).send(letter())
    assert post_office.received == []


@pytest.mark.parametrize("url", ["", "localhost:25", "http://localhost", "smtp://"])
def test_a_wrong_url_names_the_setting(url: str) -> None:
    with pytest.raises(ValueError, match="SPAWNER_SMTP_URL"):
        SmtpMailer(url, FROM)
