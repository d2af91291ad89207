"""An SMTP server that keeps every mail in a Maildir and sends none: `… mailsink PORT MAILDIR [ADDRESS]`."""

import asyncio
import mailbox
import signal
import sys
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

MAX_BYTES = 10 * 1024 * 1024


class Keep:
    """Write each mail, byte for byte, under the addresses of its envelope."""

    def __init__(self, maildir: Path) -> None:
        self._maildir = maildir

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Answer 250 once the mail is on disk."""
        content = envelope.content
        body = content if isinstance(content, bytes) else (content or "").encode()
        recipients = ", ".join(envelope.rcpt_tos)
        head = f"X-Envelope-From: {envelope.mail_from}\r\nX-Envelope-To: {recipients}\r\n".encode()
        mailbox.Maildir(self._maildir).add(head + body)
        return "250 OK"


async def serve(port: int, maildir: Path, address: str = "127.0.0.1") -> None:
    """Listen until SIGTERM or SIGINT."""
    mailbox.Maildir(maildir, create=True)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    server = await loop.create_server(
        lambda: SMTP(
            Keep(maildir), enable_SMTPUTF8=True, data_size_limit=MAX_BYTES, hostname="localhost", ident="sink"
        ),
        address,
        port,
    )
    async with server:
        print(f"listening on {address}:{port}, delivering to {maildir}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
