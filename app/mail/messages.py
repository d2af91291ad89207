"""Spawner's mails: one folder per message, with subject, text and HTML in each language."""

import enum
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from app.core.i18n import Locale

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Message(enum.StrEnum):
    """Messages, by folder name."""

    SIGNUP = "signup"
    LOGIN = "login"
    INVITE = "invite"


@dataclass(frozen=True, slots=True)
class Email:
    """A mail to send. Its bodies hold a live token: never log it."""

    to: str
    subject: str
    text: str
    html: str


def write_link(
    message: Message, locale: Locale, *, to: str, public_url: str, token: str, code: str, life: timedelta
) -> Email:
    """Build a mail with a link and its code; `life`, shown in minutes, is their lifetime."""
    # The fragment hides the token from servers until the user presses the page's button.
    link = f"{public_url}/auth/confirm#token={token}"
    minutes = max(1, int(life.total_seconds()) // 60)
    return _compose(message, locale, to, public_url, link=link, code=code, minutes=minutes)


def invite(locale: Locale, *, to: str, public_url: str, inviter: str | None, life: timedelta) -> Email:
    """Build an invitation without secrets: it links to the sign-up form. `life` is shown in days."""
    days = max(1, round(life / timedelta(days=1)))
    return _compose(
        Message.INVITE, locale, to, public_url, link=f"{public_url}/sign-in", code=None, inviter=inviter, days=days
    )


def _compose(message: Message, locale: Locale, to: str, public_url: str, **more: object) -> Email:
    values = {"locale": locale, "site": urlsplit(public_url).netloc, "to": to, **more}

    def render(part: str, kind: str) -> str:
        return _templates.get_template(f"{message}/{part}.{locale}.{kind}").render(values)

    return Email(
        to=to,
        # A single line, whatever the template or address contains.
        subject=" ".join(render("subject", "txt").split()),
        text=render("body", "txt").rstrip() + "\n",
        html=render("body", "html"),
    )
