"""Read the mail sink: the latest mails, and the links and codes in them."""

import email
import re
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

_LINK = re.compile(r"https?://[^\s<>\"']+")
_CODE = re.compile(r"(?m)^\s*([0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4})\s*$")


@dataclass(frozen=True, slots=True)
class Mail:
    """One delivered mail. `delivered` is the sink's clock, in seconds since the epoch."""

    delivered: float
    date: str
    to: str
    subject: str
    text: str
    links: tuple[str, ...]


def read_mails(maildir: Path, count: int = 20) -> list[Mail]:
    """Return the newest mails, newest first; an empty or missing Maildir has none."""
    files = [path for folder in ("new", "cur") if (maildir / folder).is_dir() for path in (maildir / folder).iterdir()]
    dated = sorted(((path.stat().st_mtime_ns, path) for path in files), reverse=True)
    return [read_mail(path) for _, path in dated[:count]]


def read_mail(path: Path) -> Mail:
    """Read one file of the Maildir."""
    delivered = path.stat().st_mtime
    message = email.message_from_bytes(path.read_bytes(), policy=policy.default)
    assert isinstance(message, EmailMessage)  # nosec B101 # narrows the type
    body = message.get_body(("plain", "html"))
    text = str(body.get_content()) if body is not None else ""
    try:
        date = parsedate_to_datetime(str(message["Date"])).astimezone()
    except (TypeError, ValueError):
        date = datetime.fromtimestamp(delivered).astimezone()
    return Mail(
        delivered=delivered,
        date=f"{date:%Y-%m-%d %H:%M:%S}",
        to=str(message["X-Envelope-To"] or message["To"] or ""),
        subject=str(message["Subject"] or ""),
        text=text,
        links=find_links(text),
    )


def find_links(text: str) -> tuple[str, ...]:
    """Return the distinct links of a text in order, without the punctuation of the sentence around them."""
    return tuple(dict.fromkeys(link.rstrip(".,;:!?)]}") for link in _LINK.findall(text)))


def find_codes(text: str) -> list[str]:
    """Return the codes that stand in lines of their own."""
    return _CODE.findall(text)


def print_inbox(maildir: Path) -> None:
    """Print the latest mails, the newest last, where the eye is."""
    mails = read_mails(maildir)
    if not mails:
        print(f"No mail yet in {maildir}")
    for mail in reversed(mails):
        print(f"{mail.date}  {mail.to}\n  {mail.subject}")
        for item in (*mail.links, *find_codes(mail.text)):
            print(f"  {item}")
