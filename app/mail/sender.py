"""Sends mail; the only SMTP client."""

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid, parseaddr
from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib

from app.mail.messages import Email

# Timeout until the server is ready for mail, including greeting, TLS and login.
CONNECT_SECONDS = 10.0
# RFC 5321, 4.5.3.2: timeout of a command, and of the response to the whole mail. A shorter one sends mails twice that
# the server has already accepted.
COMMAND_SECONDS = 300.0
ANSWER_SECONDS = 600.0
QUIT_SECONDS = 5.0
# Octets per line without line end (RFC 5321, 4.5.3.1.6).
MAX_LINE = 998
DEFAULT_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}

_FAULTS = (aiosmtplib.SMTPException, OSError, ValueError)


class Stage(enum.StrEnum):
    """Stages of the SMTP exchange."""

    SERVER = "server"
    RECIPIENT = "recipient"
    CONTENT = "content"


class MailDeferred(Exception):
    """The server did not accept the mail; a retry may succeed."""

    def __init__(self, reason: str, stage: Stage) -> None:
        super().__init__(reason)
        self.stage = stage


class MailUnanswered(Exception):
    """The mail was transmitted and the server did not respond: it may have arrived."""


class MailRefused(Exception):
    """The address or the content was rejected permanently."""


class Mailer(Protocol):
    """Sends mails."""

    @property
    def host(self) -> str:
        """The mail server's name or address."""
        ...

    async def send(self, letter: Email, begin: Callable[[], Awaitable[None]]) -> None:
        """Send the mail. Raises `MailDeferred`, `MailUnanswered` or `MailRefused`, and errors of `begin`.

        Awaits `begin` once, right before transmission; if it raises, nothing is transmitted.
        """
        ...

    async def check(self) -> None:
        """Check whether the server would accept a mail now, without sending. Raises `MailDeferred`."""
        ...


@dataclass(frozen=True, slots=True)
class _Server:
    """Connection parameters; holds a password: never log it."""

    hostname: str
    port: int
    username: str | None
    password: str | None
    use_tls: bool
    start_tls: bool | None


def _parse(url: str) -> _Server:
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError("SPAWNER_SMTP_URL must be smtp://host, smtp+starttls://host or smtps://host")
    return _Server(
        hostname=parts.hostname,
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        use_tls=parts.scheme == "smtps",
        # None: encrypt if the server offers it.
        start_tls={"smtp": None, "smtp+starttls": True, "smtps": False}[parts.scheme],
    )


class SmtpMailer:
    """Sends each mail over a new connection. `url` is SMTP_URL, `sender` is MAIL_FROM."""

    def __init__(self, url: str, sender: str) -> None:
        self._server = _parse(url)
        name, address = parseaddr(sender)
        self._from = Address(name, addr_spec=address)

    @property
    def host(self) -> str:
        """See `Mailer.host`."""
        return self._server.hostname

    async def send(self, letter: Email, begin: Callable[[], Awaitable[None]]) -> None:
        """See `Mailer.send`."""
        message = self._head(letter)
        async with self._connected() as client:
            content = _serialise(message, letter, eight_bit=client.supports_extension("8BITMIME"))
            await self._name_recipient(client, letter.to, content)
            await begin()
            await _transmit(client, content)

    async def check(self) -> None:
        """See `Mailer.check`. Announces a mail to the sender's own address."""
        async with self._connected() as client:
            # A ready server rejects a sender without mailbox permanently.
            with contextlib.suppress(MailRefused):
                await self._name_recipient(client, self._from.addr_spec, b"")

    def _head(self, letter: Email) -> EmailMessage:
        message = EmailMessage(policy=policy.SMTP if letter.to.isascii() else policy.SMTPUTF8)
        message["From"] = self._from
        try:
            message["To"] = letter.to
            message["Subject"] = letter.subject
        except ValueError:
            raise MailRefused("the address or subject has a line break") from None
        # The header must hold exactly this address.
        if [found.addr_spec for found in message["To"].addresses] != [letter.to] or "@" not in letter.to:
            raise MailRefused("not a single address")
        message["Date"] = formatdate(usegmt=True)
        message["Message-ID"] = make_msgid(domain=self._from.domain)
        # Suppresses out-of-office replies (RFC 3834).
        message["Auto-Submitted"] = "auto-generated"
        return message

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiosmtplib.SMTP]:
        """Connect to a server that is ready for mail. Raises `MailDeferred`."""
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.hostname,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.use_tls,
            start_tls=server.start_tls,
            timeout=CONNECT_SECONDS,
        )
        try:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await client.connect()
            except _FAULTS as error:
                raise _deferred(error, Stage.SERVER) from None
            try:
                yield client
            except Exception:
                await _quit(client)
                raise
            await _quit(client)
        finally:
            client.close()

    async def _name_recipient(self, client: aiosmtplib.SMTP, to: str, content: bytes) -> None:
        options = [f"SIZE={len(content)}"] if client.supports_extension("SIZE") else []
        if client.supports_extension("8BITMIME"):
            options.append("BODY=8BITMIME")
        if not to.isascii():
            if not client.supports_extension("SMTPUTF8"):
                raise MailRefused("the server takes no such address")
            options.append("SMTPUTF8")
        try:
            await client.mail(self._from.addr_spec, options=options, timeout=COMMAND_SECONDS)
        except _FAULTS as error:
            # The operator must correct a rejected sender.
            raise _deferred(error, Stage.SERVER) from None
        try:
            await client.rcpt(to, encoding="ascii" if to.isascii() else "utf-8", timeout=COMMAND_SECONDS)
        except aiosmtplib.SMTPRecipientRefused as error:
            raise classify_smtp_error(error, Stage.RECIPIENT) from None
        except ValueError as error:
            raise MailRefused(type(error).__name__) from None
        except _FAULTS as error:
            raise _deferred(error, Stage.SERVER) from None


async def _transmit(client: aiosmtplib.SMTP, content: bytes) -> None:
    try:
        await client.data(content, timeout=ANSWER_SECONDS)
    except aiosmtplib.SMTPDataError as error:
        raise classify_smtp_error(error, Stage.CONTENT) from None
    except _FAULTS as error:
        raise MailUnanswered(type(error).__name__) from None


async def _quit(client: aiosmtplib.SMTP) -> None:
    """Send QUIT. Its outcome does not affect the mail."""
    with contextlib.suppress(*_FAULTS):
        await client.quit(timeout=QUIT_SECONDS)


def _serialise(message: EmailMessage, letter: Email, *, eight_bit: bool) -> bytes:
    """Serialise the mail for a server with or without 8BITMIME."""
    message.set_content(letter.text, cte=_encoding(letter.text, eight_bit=eight_bit))
    message.add_alternative(letter.html, subtype="html", cte=_encoding(letter.html, eight_bit=eight_bit))
    return message.as_bytes()


def _encoding(text: str, *, eight_bit: bool) -> str:
    """Choose a part's encoding: 8bit if possible, else base64.

    Never quoted-printable: it writes `=` as `=3D` and breaks long lines, so links copied from the source fail.
    """
    if all(len(line.encode()) <= MAX_LINE for line in text.splitlines()):
        if text.isascii():
            return "7bit"
        if eight_bit:
            return "8bit"
    return "base64"


def classify_smtp_error(
    error: aiosmtplib.SMTPRecipientRefused | aiosmtplib.SMTPDataError, stage: Stage
) -> MailDeferred | MailRefused:
    """Classify an SMTP error: only permanent errors of recipient or content are final."""
    if error.code >= 500:
        return MailRefused(f"{type(error).__name__} {error.code}")
    return _deferred(error, stage)


def _deferred(error: Exception, stage: Stage) -> MailDeferred:
    """Build the error from kind and code: the server's text may quote the address."""
    code = f" {error.code}" if isinstance(error, aiosmtplib.SMTPResponseException) else ""
    return MailDeferred(f"{type(error).__name__}{code}", stage)
