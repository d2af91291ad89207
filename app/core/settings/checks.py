"""Settings that production refuses or warns about."""

import ipaddress
from collections.abc import Iterator
from email.utils import parseaddr
from urllib.parse import SplitResult, unquote, urlsplit

from app.core.networks import read_network

# Default passwords of examples and images.
PLACEHOLDERS = {"admin", "changeme", "change-me", "example", "password", "postgres", "redis", "root", "secret", "test"}


SHARED_ORIGIN = (
    "SPAWNER_WORKSPACE_URL with {route} in the path puts all workspaces on one origin: each can read the others that "
    "its visitor opens. Put {route} into the host, or set SPAWNER_ALLOW_SHARED_ORIGIN=yes, which turns sharing off"
)

NO_PROXY_NAMED = (
    "SPAWNER_TRUSTED_PROXIES is empty: all clients behind the TLS proxy would share its address and its limits. "
    "Set the proxy's address, or `none` without a proxy"
)

# The URL prefix of each server, and an example.
SCHEMES = {
    "database_url": (("postgresql+asyncpg",), "postgresql+asyncpg://user:password@host/name"),
    "redis_url": (("redis", "rediss", "unix"), "redis://:password@host:6379/0"),
    "smtp_url": (("smtp", "smtp+starttls", "smtps"), "smtp+starttls://user:password@host:587"),
}


def check_url(setting: str, value: str) -> None:
    """Raise `ValueError` if the library cannot use the URL. The message does not contain the value."""
    schemes, example = SCHEMES[setting.replace("_owner", "")]
    try:
        parts = urlsplit(value)
        usable = parts.scheme in schemes and "://" in value and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"must look like {example} and begin with {' or '.join(f'{one}://' for one in schemes)}")


def check_sender(value: str) -> None:
    """Raise `ValueError` for a sender without an address."""
    address = parseaddr(value)[1]
    local, at, host = address.rpartition("@")
    if not (local and at and host) or any(character.isspace() for character in address):
        raise ValueError("must contain an address, such as `Spawner <spawner@example.org>`")


def naming(workspace_url: str, public_url: str) -> Iterator[str]:
    """Yield a line if WORKSPACE_URL is malformed or shares the origin of PUBLIC_URL."""
    parts = urlsplit(workspace_url)
    if workspace_url.count("{route}") != 1 or parts.scheme not in ("http", "https"):
        yield "SPAWNER_WORKSPACE_URL must be http:// or https:// and contain {route} once, in its host or its path"
    elif "{route}" in parts.netloc:
        if not parts.netloc.startswith("{route}.") or parts.path.strip("/"):
            yield "SPAWNER_WORKSPACE_URL with {route} in the host must look like https://{route}.apps.example.org"
    elif parts.path != "/{route}":
        yield "SPAWNER_WORKSPACE_URL with {route} in the path must look like https://apps.example.org/{route}"
    elif f"{parts.scheme}://{parts.netloc.lower()}" == public_url:
        yield (
            "SPAWNER_WORKSPACE_URL must not share the origin of SPAWNER_PUBLIC_URL: "
            "a workspace could act as its visitor"
        )


def complaints(urls: dict[str, str]) -> Iterator[str]:
    """Yield a line for each URL, keyed by setting, that production must not use."""
    for name in ("PUBLIC_URL", "WORKSPACE_URL"):
        parts = urlsplit(urls[name].replace("{route}", "route"))
        if parts.scheme == "http" and not _is_here(parts):
            yield f"SPAWNER_{name} must begin with https:// in production: http exposes every session to the network"
    for name in ("DATABASE_URL", "REDIS_URL", "SMTP_URL"):
        parts = urlsplit(urls[name])
        password = unquote(parts.password or "")
        if password and (password.lower() in PLACEHOLDERS or password == unquote(parts.username or "")):
            yield f"SPAWNER_{name} has a guessable password: choose a random one"
    smtp = urlsplit(urls["SMTP_URL"])
    if smtp.scheme == "smtp" and smtp.password and not _is_here(smtp):
        yield (
            "SPAWNER_SMTP_URL would send its password unencrypted if the server offers no TLS: "
            "use smtp+starttls:// or smtps://"
        )


def concerns(urls: dict[str, str]) -> Iterator[str]:
    """Yield a line for each URL that relies on a private network."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        parts = urlsplit(urls[name])
        if parts.hostname and not parts.password and not _is_here(parts):
            yield f"SPAWNER_{name} has no password: anyone who reaches {parts.hostname} can read and change everything"


def networks(texts: list[str]) -> list[str]:
    """Return the texts; raises if one is neither an address nor a network."""
    for text in texts:
        try:
            read_network(text)
        except ValueError:
            raise ValueError(f"{text!r} is neither an address nor a network such as 203.0.113.0/24") from None
    return texts


def _is_here(parts: SplitResult) -> bool:
    """Whether the host is loopback."""
    host = (parts.hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
