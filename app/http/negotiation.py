"""What a request says of the answer it wants: its purpose (Fetch Metadata), media type and language."""

from fastapi import Request
from starlette.datastructures import Headers

from app.core.i18n import Locale, negotiate

HTML = ("text/html", "text/*", "application/xhtml+xml")
JSON = ("application/json",)
MAX_ACCEPT_LENGTH = 1000


def opens_page(headers: Headers) -> bool:
    """Whether the answer becomes the page that a person has asked for.

    False for an image, a frame, a script's fetch and a prefetch. Programs say nothing of the kind, and are believed.
    """
    dest, mode = headers.get("sec-fetch-dest", "document"), headers.get("sec-fetch-mode", "navigate")
    return dest == "document" and mode == "navigate" and not is_prefetch(headers)


def is_prefetch(headers: Headers) -> bool:
    """Whether a browser asks ahead of time, for a page that nobody may ever open."""
    return "sec-purpose" in headers or headers.get("purpose") == "prefetch"


def locale_of(request: Request) -> Locale:
    """The language to answer this request in."""
    return negotiate(request.headers.get("accept-language", ""), request.app.state.settings.default_locale)


def navigates(request: Request) -> bool:
    """Whether a person's browser opens this address, or something that acts like one."""
    if "navigate" in request.headers.getlist("sec-fetch-mode"):
        return True
    return accept_quality(request.headers, HTML) > accept_quality(request.headers, JSON)


def accepts_html(headers: Headers) -> bool:
    """Whether the client asks for HTML by its name, as browsers do for a page."""
    return accept_quality(headers, HTML[:1]) > 0


def accept_quality(headers: Headers, kinds: tuple[str, ...]) -> float:
    """The highest weight that the client gives one of these media ranges by name; 0 where it names none."""
    accepted = ",".join(headers.getlist("accept"))[:MAX_ACCEPT_LENGTH].lower()
    parts = (part.partition(";") for part in accepted.split(","))
    return max((_weight(parameters) for kind, _, parameters in parts if kind.strip() in kinds), default=0.0)


def _weight(parameters: str) -> float:
    """The weight among a media range's parameters (RFC 9110, 12.4.2); one that cannot be read counts as 1."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                break
    return 1.0
