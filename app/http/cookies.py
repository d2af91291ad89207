"""Builds Set-Cookie headers and parses Cookie headers; no other module does."""

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from app.core.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Cookie:
    """An HttpOnly cookie to set.

    Expires after `seconds`: 0 deletes it, None keeps it until the browser closes. A cookie for `anywhere` is also sent
    with cross-site requests.
    """

    name: str
    value: str
    path: str
    secure: bool
    seconds: int | None = None
    anywhere: bool = False

    def header(self) -> str:
        """Return the value of the Set-Cookie header."""
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
    """Return the name of a cookie of the API's host. Over TLS, `__Host-` binds the cookie to this host."""
    return f"__Host-{name}" if settings.secure_cookies else name


def host_cookie(settings: Settings, name: str, value: str, seconds: int) -> Cookie:
    """Build a cookie of the API's host."""
    return Cookie(host_cookie_name(settings, name), value, "/", settings.secure_cookies, seconds)


def split_cookies(headers: Iterable[str]) -> list[str]:
    """Split Cookie headers into cookies, unparsed and in order."""
    return [pair for header in headers for part in header.split(";") if (pair := part.strip(" \t"))]


def parse_cookie(pair: str) -> tuple[str, str]:
    """Return name and value of a cookie; without `=` the whole text is the value, as in browsers.

    Strips only blanks from names: stripping other characters would turn an unchecked name into a `__Host-` name.
    """
    name, found, value = pair.partition("=")
    return (name.strip(" \t"), value.strip(" \t")) if found else ("", pair)


def cookie_values(headers: Iterable[str], name: str) -> list[str]:
    """Return the distinct values of a cookie, in order."""
    return list(dict.fromkeys(value for key, value in map(parse_cookie, split_cookies(headers)) if key == name))


def single_cookie(request: Request, name: str) -> str | None:
    """Return the cookie's value; None if absent or sent with several values, since some may be planted."""
    values = cookie_values(request.headers.getlist("cookie"), name)
    return values[0] if len(values) == 1 else None
