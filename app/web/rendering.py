"""Renders templates in the visitor's language."""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.core.i18n import Locale
from app.http.negotiation import locale_of
from app.web.messages import pages

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"

_templates = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _version(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


# The content's hash in the address lets browsers cache a file for ever.
_ASSETS = {
    path.relative_to(STATIC).as_posix(): f"/static/{path.relative_to(STATIC).as_posix()}?v={_version(path)}"
    for path in STATIC.rglob("*")
    if path.is_file()
}


def say(locale: Locale, name: str, /, **values: object) -> str:
    """Return a page text by name."""
    return pages.PAGE[name].format(locale, **values)


def counted(locale: Locale, name: str, /, **amount: int) -> str:
    """Return the text `name` for an amount, such as minutes; 1 has a text of its own."""
    return say(locale, f"{name}_one") if 1 in amount.values() else say(locale, name, **amount)


def named(locale: Locale, address: str, misleading: bool) -> str:
    """Return an address, with a warning if it mixes look-alike letters."""
    return say(locale, "misleading", address=address) if misleading else address


def page(
    request: Request, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
) -> HTMLResponse:
    """Render a template as a response."""
    locale = locale_of(request)
    html = _templates.get_template(template).render(
        locale=locale,
        t=partial(say, locale),
        counted=partial(counted, locale),
        named=partial(named, locale),
        number=partial(pages.number, locale=locale),
        date=partial(pages.date, locale=locale),
        when=pages.when,
        asset=_ASSETS.__getitem__,
        **values,
    )
    return HTMLResponse(
        html, status, headers={"Content-Language": locale, "Vary": "Accept-Language", **(headers or {})}
    )
