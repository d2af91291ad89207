"""Request preferences: purpose (Fetch Metadata), media type and language."""

from starlette.datastructures import Headers
from starlette.requests import Request

from app.core.i18n import Locale, negotiate

HTML = ("text/html", "text/*", "application/xhtml+xml")
JSON = ("application/json",)
MAX_ACCEPT_LENGTH = 1000


def opens_page(headers: Headers) -> bool:
    """Return whether the response becomes a top-level page.

    False for images, frames, fetches and prefetches. Clients without Fetch Metadata count as True.
    """
    dest, mode = headers.get("sec-fetch-dest", "document"), headers.get("sec-fetch-mode", "navigate")
    return dest == "document" and mode == "navigate" and not is_prefetch(headers)


def is_prefetch(headers: Headers) -> bool:
    """Return whether a browser prefetches the page."""
    return "sec-purpose" in headers or headers.get("purpose") == "prefetch"


def locale_of(request: Request) -> Locale:
    """Return the response language of this request."""
    return negotiate(request.headers.get("accept-language", ""), request.app.state.settings.default_locale)


def navigates(request: Request) -> bool:
    """Return whether the request is a page navigation."""
    if "navigate" in request.headers.getlist("sec-fetch-mode"):
        return True
    return accept_quality(request.headers, HTML) > accept_quality(request.headers, JSON)


def accepts_html(headers: Headers) -> bool:
    """Return whether `Accept` names HTML, as browsers do for a page."""
    return accept_quality(headers, HTML[:1]) > 0


def accept_quality(headers: Headers, kinds: tuple[str, ...]) -> float:
    """Return the highest weight in `Accept` of the named media ranges; 0 if it names none."""
    accepted = ",".join(headers.getlist("accept"))[:MAX_ACCEPT_LENGTH].lower()
    parts = (part.partition(";") for part in accepted.split(","))
    return max((_weight(parameters) for kind, _, parameters in parts if kind.strip() in kinds), default=0.0)


def _weight(parameters: str) -> float:
    """Parse the weight of a media range (RFC 9110, 12.4.2); 1 if malformed."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                break
    return 1.0
