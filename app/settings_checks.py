"""What production refuses to start with, and what it starts with under protest."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import SplitResult, unquote, urlsplit

from app.forwarded import read_network

# What examples and images ship with.
PLACEHOLDERS = {"admin", "changeme", "change-me", "example", "password", "postgres", "redis", "root", "secret", "test"}


SHARED_ORIGIN = (
    "SPAWNER_WORKSPACE_URL with {route} in the path puts all workspaces on one origin, where those that one person "
    "opens can read each other: put {route} into the host, or set SPAWNER_ALLOW_SHARED_ORIGIN=yes to do without sharing"
)


def complaints(urls: dict[str, str]) -> Iterator[str]:
    """One line for each of the URLs, by their settings' names, that no production should start with."""
    for name in ("PUBLIC_URL", "WORKSPACE_URL"):
        parts = urlsplit(urls[name].replace("{route}", "route"))
        if parts.scheme == "http" and not _is_here(parts):
            yield f"SPAWNER_{name} must begin with https:// in production: http shows every session on its way"
    for name in ("DATABASE_URL", "REDIS_URL", "SMTP_URL"):
        parts = urlsplit(urls[name])
        password = unquote(parts.password or "")
        if password and (password.lower() in PLACEHOLDERS or password == unquote(parts.username or "")):
            yield f"SPAWNER_{name} holds a password that is none: choose a random one"
    smtp = urlsplit(urls["SMTP_URL"])
    if smtp.scheme == "smtp" and smtp.password and not _is_here(smtp):
        yield (
            "SPAWNER_SMTP_URL would send its password in the clear where the server offers no TLS: "
            "begin it with smtp+starttls:// or smtps://"
        )


def concerns(urls: dict[str, str]) -> Iterator[str]:
    """One line for each URL that trusts its network: right on a private one, wrong on any other."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        parts = urlsplit(urls[name])
        if parts.hostname and not parts.password and not _is_here(parts):
            yield f"SPAWNER_{name} holds no password: whoever reaches {parts.hostname} reads and changes everything"


def networks(texts: list[str]) -> list[str]:
    """The texts, each of which must be an address or a network."""
    for text in texts:
        try:
            read_network(text)
        except ValueError:
            raise ValueError(f"{text!r} is no address and no network such as 203.0.113.0/24") from None
    return texts


def _is_here(parts: SplitResult) -> bool:
    """Whether the host is this machine's loopback."""
    host = (parts.hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
