"""Placeholders in a template's command, arguments and headers, such as `{prefix}`."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

# docs/templates.md documents their values.
NAMES: Final = ("base_path", "prefix", "workspace_url", "public_url", "user")
_PARTS: Final = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")
_HEADER: Final = re.compile(r"X-[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
# Reserved headers: the proxy's own, and those that carry the client's address.
_OURS: Final = ("spawner", "forwarded", "upstream", "strip-prefix", "real-ip", "client-ip")
MAX_HEADERS: Final = 4
MAX_LENGTH: Final = 1000


def fill(text: str, values: Mapping[str, str]) -> str:
    """Substitute the values, without recursion."""
    return _PARTS.sub(lambda match: values[match[0][1:-1]] if len(match[0]) > 2 else match[0][0], text)


def personal(words: Iterable[str], *, host_mode: bool) -> str | None:
    """Return the first placeholder, as written, whose value differs between users; None if there is none."""
    own = {"{user}", "{workspace_url}"} | (set() if host_mode else {"{base_path}", "{prefix}"})
    return next((part for word in words for part in _PARTS.findall(word) if part in own), None)


def check_text(text: str) -> str:
    """Raise `ValueError` for an unknown placeholder; literal braces are doubled."""
    if "\0" in text or len(text) > MAX_LENGTH:
        raise ValueError(f"must have no NUL character and at most {MAX_LENGTH} characters")
    for part in _PARTS.findall(text):
        if part in ("{", "}") or (len(part) > 2 and part[1:-1] not in NAMES):
            known = ", ".join(f"{{{name}}}" for name in NAMES)
            raise ValueError(f"{part} is none of {known}; a brace itself is written twice: {{{{ or }}}}")
    return text


def check_words(words: tuple[str, ...]) -> tuple[str, ...]:
    """Validate a command or arguments."""
    if not words or not words[0]:
        raise ValueError("must be a list that begins with a word, such as [serve, --port, '8080']")
    for word in words:
        check_text(word)
    return words


def check_headers(headers: dict[str, str]) -> dict[str, str]:
    """Validate the request headers that a template adds."""
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"must be at most {MAX_HEADERS}")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("has a name twice: case makes no difference")
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or len(name) > 60:
            raise ValueError(f"{name} is no name such as X-Script-Name")
        if any(word in name.lower() for word in _OURS):
            raise ValueError(f"{name} is the proxy's own")
        if not re.fullmatch(r"[!-~]+( [!-~]+)*", value):
            raise ValueError(f"{name} must hold printable ASCII characters, with single spaces between words")
        check_text(value)
    return headers
