"""The platform's credentials in a request for a workspace: what they are, and what is left for the container.

An application has credentials of its own in the same places, and gets them as they are.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from app.accounts.principal import TOKEN_PREFIX
from app.core.errors import Unauthorized
from app.gateway.proxied_request import ProxiedRequest
from app.security.tokens import Tokens

# The proxy strikes out what has this form from every header and, where it is told to, from the query.
_TOKEN = re.compile(rf"{TOKEN_PREFIX}[A-Za-z0-9_-]{{43}}")
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class PresentedCredentials:
    """`token` is the personal token that a request shows, `authorization` what the container may see of that header;
    `in_query` says that a token stands in the address."""

    token: str | None
    authorization: str
    in_query: bool


def read_credentials(tokens: Tokens, proxied: ProxiedRequest) -> PresentedCredentials:
    """Tell the platform's credentials from the application's.

    A websocket's client may have no other place for a token than its subprotocols or the query. Raises `Unauthorized`
    where several tokens are shown: nobody can choose which one is read.
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
    """User and password of an Authorization header; nothing where it is none of that kind."""
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return ()
    try:
        # As the most lenient of readers does: without padding, past characters that are none of base64's.
        user, _, password = base64.b64decode(rest.encode("latin-1") + b"==").decode("latin-1").partition(":")
    except binascii.Error:
        return ()
    return user, password


def _in_query(query: str) -> list[tuple[str, str]]:
    """The fields of a query that hold a personal token, decoded."""
    if TOKEN_PREFIX not in query and "%" not in query:
        return []
    fields = parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    return [(key, value) for key, value in fields if _TOKEN.search(value)]
