"""Separates the platform's credentials in a request from the application's, which pass unchanged."""

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from app.accounts.principal import TOKEN_PREFIX
from app.core.errors import Unauthorized
from app.gateway.proxied_request import ProxiedRequest
from app.security.tokens import Tokens

# The proxy removes text of this form from every header and, if told to, from the query.
_TOKEN = re.compile(rf"{TOKEN_PREFIX}[A-Za-z0-9_-]{{43}}")
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class PresentedCredentials:
    """`token` is the request's personal token, `authorization` the header for the container; `in_query` means that the
    query has a token.
    """

    token: str | None
    authorization: str
    in_query: bool


def read_credentials(tokens: Tokens, proxied: ProxiedRequest) -> PresentedCredentials:
    """Separate the platform's credentials from the application's.

    Websocket clients may only be able to send a token as subprotocol or in the query. Raises `Unauthorized` for several
    tokens: which one counts would be ambiguous.
    """
    kept, found = [], []
    for value in proxied.authorization:
        basic = _basic(value)
        if not _holds_ours(tokens, value) and not _holds_ours(tokens, ":".join(basic)):
            kept.append(value)
        secret = basic[1] if basic else value.strip().partition(" ")[2].strip()
        if secret.startswith(TOKEN_PREFIX):
            found.append(secret)
    named = _in_query(proxied.uri.partition("?")[2])
    if proxied.upgrade and not proxied.browser and not found:
        found = [match[0] for value in proxied.protocols for match in _TOKEN.finditer(value)]
        found += [value for key, value in named if key == "token"]
    if len(set(found)) > 1:
        raise Unauthorized
    return PresentedCredentials(found[0] if found else None, ", ".join(kept), bool(named))


def _holds_ours(tokens: Tokens, text: str) -> bool:
    return _TOKEN.search(text) is not None or any(tokens.is_ours(match) for match in _JWT.findall(text))


def _basic(authorization: str) -> tuple[str, str] | tuple[()]:
    """Parse user and password of Basic authorization; empty for other schemes."""
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return ()
    try:
        # As lenient as any server: without padding, ignoring non-base64 characters.
        user, _, password = base64.b64decode(rest.encode("latin-1") + b"==").decode("latin-1").partition(":")
    except binascii.Error:
        return ()
    return user, password


def _in_query(query: str) -> list[tuple[str, str]]:
    """Return the decoded query fields that hold a personal token."""
    if TOKEN_PREFIX not in query and "%" not in query:
        return []
    fields = parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    return [(key, value) for key, value in fields if _TOKEN.search(value)]
