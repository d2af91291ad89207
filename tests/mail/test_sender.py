"""Handing emails to real SMTP servers, well and badly behaved."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.message import EmailMessage

import pytest

from app.mail import sender
from app.mail.messages import Email
from app.mail.sender import MailDeferred, MailRefused, MailUnanswered, SmtpMailer
from tests.support.emails import PostOffice, text_of

FROM = "Spawner <spawner@example.org>"


def letter(to: str = "alice@example.org", subject: str = "Hello") -> Email:
    return Email(to=to, subject=subject, text="Grüße, a text\n", html="<p>Grüße</p>")


async def nothing() -> None:
    """What a test has to do before a letter is transmitted."""


def mailer_for(office: PostOffice) -> SmtpMailer:
    return SmtpMailer(f"smtp://127.0.0.1:{office.port}", FROM)


def received(office: PostOffice) -> EmailMessage:
    parsed = email.message_from_bytes(office.received[-1].original_content or b"", policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


async def test_a_letter_arrives_with_both_parts_and_the_headers_of_a_machine(post_office: PostOffice) -> None:
    await mailer_for(post_office).send(letter(subject="Grüße"), nothing)
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
    await mailer_for(post_office).send(letter("jörg@example.org"), nothing)
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
async def test_nothing_is_smuggled_into_headers_or_commands(post_office: PostOffice, hostile: Email) -> None:
    with pytest.raises(MailRefused):
        await mailer_for(post_office).send(hostile, nothing)
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
        await mailer_for(post_office).send(letter(), nothing)
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
        await SmtpMailer("smtp://127.0.0.1:1", FROM).send(letter(), nothing)


async def test_a_name_that_does_not_resolve_is_tried_later() -> None:
    with pytest.raises(MailDeferred):
        await SmtpMailer("smtp://nowhere.invalid", FROM).send(letter(), nothing)


async def test_a_server_that_says_nothing_is_tried_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "CONNECT_SECONDS", 0.2)
    release = asyncio.Event()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()

    async with server(silence) as port:
        with pytest.raises(MailDeferred):
            await SmtpMailer(f"smtp://127.0.0.1:{port}", FROM).send(letter(), nothing)
        release.set()


@pytest.mark.parametrize("greeting", [b"", b"554 go away\r\n", b"junk\r\n", b"421 busy\r\n"])
async def test_a_server_that_breaks_off_is_tried_later(greeting: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()

    async with server(talk) as port:
        with pytest.raises(MailDeferred):
            await SmtpMailer(f"smtp://127.0.0.1:{port}", FROM).send(letter(), nothing)


async def test_where_encryption_is_required_nothing_is_sent_without(post_office: PostOffice) -> None:
    for scheme in ("smtp+starttls", "smtps"):
        with pytest.raises(MailDeferred):
            await SmtpMailer(f"{scheme}://127.0.0.1:{post_office.port}", FROM).send(letter(), nothing)
    assert post_office.received == []


@pytest.mark.parametrize("url", ["", "localhost:25", "http://localhost", "smtp://"])
def test_a_wrong_url_names_the_setting(url: str) -> None:
    with pytest.raises(ValueError, match="SPAWNER_SMTP_URL"):
        SmtpMailer(url, FROM)


async def test_an_answer_is_waited_for_longer_than_a_connection(
    post_office: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that answers late has the letter: to give it up is to send it twice."""
    assert (sender.COMMAND_SECONDS, sender.ANSWER_SECONDS) == (300, 600)
    monkeypatch.setattr(sender, "CONNECT_SECONDS", 2)
    post_office.answering.clear()
    sending = asyncio.create_task(mailer_for(post_office).send(letter(), nothing))
    assert not (await asyncio.wait({sending}, timeout=3))[0]
    post_office.answering.set()
    await sending
    assert len(post_office.received) == 1


@pytest.mark.parametrize("last_words", [b"", b"250"])
async def test_a_server_that_dies_after_the_letter_may_have_taken_it(last_words: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer, end in ((b"220", b""), (b"250", b"\r\n"), (b"250", b"\r\n"), (b"250", b"\r\n"), (b"354", b"\r\n")):
            if end:
                await reader.readuntil(end)
            writer.write(answer + b" go on\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(last_words)

    async with server(talk) as port:
        with pytest.raises(MailUnanswered):
            await SmtpMailer(f"smtp://127.0.0.1:{port}", FROM).send(letter(), nothing)


async def test_a_server_that_dies_when_told_goodbye_has_the_letter() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 go on\r\n")
        for answer in (b"250", b"250", b"250", b"354"):
            await reader.readuntil(b"\r\n")
            writer.write(answer + b" go on\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 taken\r\n")
        await reader.readuntil(b"QUIT\r\n")

    async with server(talk) as port:
        await SmtpMailer(f"smtp://127.0.0.1:{port}", FROM).send(letter(), nothing)


async def test_nothing_is_transmitted_where_its_beginning_cannot_be_noted(post_office: PostOffice) -> None:
    async def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await mailer_for(post_office).send(letter(), fail)
    assert post_office.received == []
