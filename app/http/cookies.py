"""HTTP cookies: the one builder of Set-Cookie headers, and the one parser of Cookie headers."""

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from app.core.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie to set, out of reach of scripts.

    It lives for `seconds`, of which 0 deletes it; None means until the browser closes. One for `anywhere` also comes
    along with what other sites' pages ask.
    """

    name: str
    value: str
    path: str
    secure: bool
    seconds: int | None = None
    anywhere: bool = False

    def header(self) -> str:
        """The value of its Set-Cookie header."""
        response = Response()
        response.set_cookie(
            self.name,
            self.value,
            max_age=self.seconds,
            path=self.path,
            secure=self.secure,
            httponly=True,
            samesite="none" if self.anywhere else "lax",
        )
        return response.headers["Set-Cookie"]


def host_cookie_name(settings: Settings, name: str) -> str:
    """The name of a cookie of the API's host: `__Host-` binds it to this very host, which browsers allow over TLS."""
    return f"__Host-{name}" if settings.secure_cookies else name


def host_cookie(settings: Settings, name: str, value: str, seconds: int) -> Cookie:
    """A cookie of the API's host."""
    return Cookie(host_cookie_name(settings, name), value, "/", settings.secure_cookies, seconds)


def split_cookies(headers: Iterable[str]) -> list[str]:
    """The cookies of a request's Cookie headers, as they were sent, in order."""
    return [pair for header in headers for part in header.split(";") if (pair := part.strip(" \t"))]


def parse_cookie(pair: str) -> tuple[str, str]:
    """Name and value of a cookie; without `=` all of it is the value, as in browsers.

    Names are compared as browsers send them. To strip more than blanks off them would make a `__Host-` cookie of one
    that had another character before it, and was never checked by the browser.
    """
    name, found, value = pair.partition("=")
    return (name.strip(" \t"), value.strip(" \t")) if found else ("", pair)


def cookie_values(headers: Iterable[str], name: str) -> list[str]:
    """The values that a request's Cookie headers give this name, in order, each once."""
    return list(dict.fromkeys(value for key, value in map(parse_cookie, split_cookies(headers)) if key == name))


def single_cookie(request: Request, name: str) -> str | None:
    """The one value that the request shows for this name; None where there are several, of which some are planted."""
    values = cookie_values(request.headers.getlist("cookie"), name)
    return values[0] if len(values) == 1 else None
