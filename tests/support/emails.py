"""Mails as tests see them: those that the sink received, and a mail server that misbehaves."""

import asyncio
import email
import email.policy
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class Inbox:
    """The mails that the sink received."""

    folder: Path

    def to(self, address: str) -> list[EmailMessage]:
        """Mails to an address, oldest first; to anybody for an empty one."""
        files = [path for part in ("new", "cur") for path in (self.folder / part).glob("*")]
        parsed = [
            email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            for path in sorted(files, key=lambda path: path.stat().st_mtime_ns)
        ]
        return [mail for mail in parsed if isinstance(mail, EmailMessage) and address in ("", mail["To"])]

    def token(self, address: str) -> str:
        """The token in the latest mail to an address that has one: an invitation may have come meanwhile."""
        return self._latest(address, r"/auth/confirm#token=([A-Za-z0-9_-]+)")

    def code(self, address: str) -> str:
        """The code in the latest mail to an address that has one."""
        return self._latest(address, r"^([0-9A-Z]{4}-[0-9A-Z]{4})$")

    def _latest(self, address: str, pattern: str) -> str:
        found = [match for mail in self.to(address) if (match := re.search(pattern, text_of(mail), re.MULTILINE))]
        assert found
        return found[-1][1]


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    """The decoded text or HTML part."""
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


@dataclass
class PostOffice:
    """An SMTP server that answers as told; `answers` are spent one by one, then everything is accepted.

    It offers no extension that `lacks` names. While `answering` is not set, emails are received and not answered;
    where it `hangs_up` it never answers one. `recipients` may say something else than 250 to one.
    """

    port: int = 0
    lacks: tuple[str, ...] = ()
    hangs_up: bool = False
    recipients: Callable[[str], str | None] = lambda _: None
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    answers: list[str] = field(default_factory=list)
    data_answers: list[str] = field(default_factory=list)
    received: list[Envelope] = field(default_factory=list)
    before: Callable[[], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        self.answering.set()

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        *offered, last = (line for line in responses if line[4:] not in self.lacks)
        return [*offered, last.replace("250-", "250 ", 1)]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.before:
            await self.before()
        if self.answers:
            return self.answers.pop(0)
        if said := self.recipients(address):
            return said
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.data_answers:
            return self.data_answers.pop(0)
        self.received.append(envelope)
        await self.answering.wait()
        if self.hangs_up:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return "250 OK"


@asynccontextmanager
async def open_post_office() -> AsyncIterator[PostOffice]:
    """A mail server on loopback that takes everything, until told otherwise."""
    office = PostOffice()
    listener = await asyncio.get_running_loop().create_server(
        lambda: SMTP(office, enable_SMTPUTF8=True, hostname="localhost"), "127.0.0.1", 0
    )
    async with listener:
        office.port = listener.sockets[0].getsockname()[1]
        yield office
