"""The mails that Spawner sends: one folder a message, with subject, text and HTML in each language."""

import enum
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from app.i18n import Locale

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


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail that is ready to be sent. Its bodies hold a live token: never log it."""

    to: str
    subject: str
    text: str
    html: str


def compose(message: Message, locale: Locale, *, to: str, public_url: str, token: str, life: timedelta) -> Letter:
    """Write the mail that carries a link; `life` is how long the link stays good, told in minutes."""
    values = {
        "locale": locale,
        "site": urlsplit(public_url).netloc,
        "to": to,
        # In the fragment the token reaches no server before the person presses the page's button.
        "link": f"{public_url}/auth/confirm#token={token}",
        "minutes": max(1, int(life.total_seconds()) // 60),
    }

    def render(part: str, kind: str) -> str:
        return _templates.get_template(f"{message}/{part}.{locale}.{kind}").render(values)

    return Letter(
        to=to,
        # One line, whatever a template or an address may hold.
        subject=" ".join(render("subject", "txt").split()),
        text=render("body", "txt").rstrip() + "\n",
        html=render("body", "html"),
    )
