"""Hands letters to a mail server; the only file that speaks SMTP."""

import asyncio
from dataclasses import dataclass
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid, parseaddr
from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib

from app.mail.messages import Letter

SECONDS = 10.0
DEFAULT_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


class MailDeferred(Exception):
    """The letter was not taken now; a later attempt may succeed. It may even have arrived, if the answer got lost."""


class MailRefused(Exception):
    """The letter will never be taken: its address or its content was refused for good."""


class Mailer(Protocol):
    """Sends letters."""

    async def send(self, letter: Letter) -> None:
        """Hand the letter over within ten seconds. Raises `MailDeferred` or `MailRefused`, and nothing else."""
        ...


@dataclass(frozen=True, slots=True)
class _Server:
    """Where and how to connect; holds a password: never log it."""

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
        # None means: encrypt where the server offers it.
        start_tls={"smtp": None, "smtp+starttls": True, "smtps": False}[parts.scheme],
    )


class SmtpMailer:
    """Sends each letter over a connection of its own. `url` is SMTP_URL, `sender` is MAIL_FROM."""

    def __init__(self, url: str, sender: str) -> None:
        self._server = _parse(url)
        name, address = parseaddr(sender)
        self._from = Address(name, addr_spec=address)

    async def send(self, letter: Letter) -> None:
        """See `Mailer.send`."""
        message = self._write(letter)
        try:
            async with asyncio.timeout(SECONDS):
                await self._deliver(letter.to, message)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            # The server's words may quote the address: only their kind goes on.
            raise _judge(error, letter.to) from None

    def _write(self, letter: Letter) -> EmailMessage:
        message = EmailMessage(policy=policy.SMTP if letter.to.isascii() else policy.SMTPUTF8)
        message["From"] = self._from
        try:
            message["To"] = letter.to
            message["Subject"] = letter.subject
        except ValueError:
            raise MailRefused("the address or subject has a line break") from None
        # What the header says must be that one address and nothing beside it.
        if [found.addr_spec for found in message["To"].addresses] != [letter.to] or "@" not in letter.to:
            raise MailRefused("not a single address")
        message["Date"] = formatdate(usegmt=True)
        message["Message-ID"] = make_msgid(domain=self._from.domain)
        # No out-of-office notes back (RFC 3834).
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(letter.text)
        message.add_alternative(letter.html, subtype="html")
        return message

    async def _deliver(self, to: str, message: EmailMessage) -> None:
        server = self._server
        await aiosmtplib.send(
            message,
            sender=self._from.addr_spec,
            recipients=[to],
            hostname=server.hostname,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.use_tls,
            start_tls=server.start_tls,
            timeout=SECONDS,
        )


def _judge(error: Exception, to: str) -> MailDeferred | MailRefused:
    """Only a permanent answer about the recipient or the content is final.

    A wrong password, a refused sender or a missing certificate is the operator's to mend, so those are tried again.
    """
    kind = type(error).__name__
    match error:
        case aiosmtplib.SMTPRecipientsRefused():
            codes = [refusal.code for refusal in error.recipients]
            final = all(code >= 500 for code in codes)
            return MailRefused(f"{kind} {codes}") if final else MailDeferred(f"{kind} {codes}")
        case aiosmtplib.SMTPRecipientRefused() | aiosmtplib.SMTPDataError() if error.code >= 500:
            return MailRefused(f"{kind} {error.code}")
        case aiosmtplib.SMTPNotSupported() if not to.isascii():
            return MailRefused(f"{kind}: the server takes no such address")
        case aiosmtplib.SMTPException() | OSError():
            return MailDeferred(kind)
        case _:
            return MailRefused(kind)
