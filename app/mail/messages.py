"""The mails that Spawner sends: one folder a message, with subject, text and HTML in each language."""

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
    """Names of the folders."""

    SIGNUP = "signup"
    LOGIN = "login"
    INVITE = "invite"


@dataclass(frozen=True, slots=True)
class Email:
    """A mail that is ready to be sent. Its bodies hold a live token: never log it."""

    to: str
    subject: str
    text: str
    html: str


def write_link(
    message: Message, locale: Locale, *, to: str, public_url: str, token: str, code: str, life: timedelta
) -> Email:
    """Write the mail that carries a link and its code; `life` is how long they stay good, told in minutes."""
    # In the fragment the token reaches no server before the person presses the page's button.
    link = f"{public_url}/auth/confirm#token={token}"
    minutes = max(1, int(life.total_seconds()) // 60)
    return _compose(message, locale, to, public_url, link=link, code=code, minutes=minutes)


def invite(locale: Locale, *, to: str, public_url: str, inviter: str | None, life: timedelta) -> Email:
    """Write an invitation, which holds no secret: it leads to the form where a link is asked for. `life` in days."""
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
        # One line, whatever a template or an address may hold.
        subject=" ".join(render("subject", "txt").split()),
        text=render("body", "txt").rstrip() + "\n",
        html=render("body", "html"),
    )
