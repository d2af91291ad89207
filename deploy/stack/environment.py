"""The settings that the embedded stack runs with: what the operator gave, and for the rest where our parts answer."""

import base64
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from deploy.stack.layout import Layout, write_private
from deploy.stack.services import OWNER_ROLE, postgres_url, redis_url

PREFIX = "SPAWNER_"
OWNER_URL = "SPAWNER_DATABASE_OWNER_URL"
PORT = 8080


def given_settings(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the operator's own settings: `.env` of the repository, then the environment, which wins."""
    values = {**dotenv_values(root / ".env"), **environ}
    return {name: value for name, value in values.items() if name.startswith(PREFIX) and value is not None}


def stack_settings(
    layout: Layout, given: Mapping[str, str], ports: Mapping[str, int], docker_url: str
) -> dict[str, str]:
    """Complete the operator's settings with the embedded parts; a given one is never replaced."""
    port = ports["public"]
    settings = {
        "SPAWNER_ENVIRONMENT": "development",
        "SPAWNER_INSTANCE": f"spawner{layout.identity}",
        "SPAWNER_PORT": str(port),
        "SPAWNER_PUBLIC_URL": f"http://localhost:{port}",
        "SPAWNER_WORKSPACE_URL": f"http://{{route}}.localhost:{port}",
        "SPAWNER_TRUSTED_PROXIES": "127.0.0.1",
        # There is no other API process to lead requests to.
        "SPAWNER_API_LEAVE_SECONDS": "0",
        "SPAWNER_DATABASE_URL": postgres_url(layout.run, "spawner"),
        "SPAWNER_REDIS_URL": redis_url(layout.run),
        "SPAWNER_SMTP_URL": f"smtp://127.0.0.1:{ports['smtp']}",
        "SPAWNER_DOCKER_URL": docker_url,
        **given,
    }
    settings.pop(OWNER_URL, None)
    if not settings.get("SPAWNER_SECRET_KEY"):
        settings.setdefault("SPAWNER_SECRET_KEY_FILE", str(layout.state / "secret_key"))
    upstreams = {"api": socket_address(layout, "api"), "gateway": socket_address(layout, "gateway")}
    return {**proxy_settings(settings, upstreams, ports.get("ask")), **settings}


def socket_address(layout: Layout, part: str) -> str:
    """The address of API or gateway, as Caddy writes it."""
    return f"unix/{layout.sockets / part}.sock"


def asks_for_certificates(given: Mapping[str, str]) -> bool:
    """Say whether Caddy asks the gateway for each certificate. It can do so at a port alone."""
    return given.get("SPAWNER_WORKSPACE_TLS") == "on_demand"


def migration_settings(layout: Layout, given: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """The settings that migrations run with: they alone are told of the role that owns the tables."""
    embedded = "" if given.get("SPAWNER_DATABASE_URL") else postgres_url(layout.run, "spawner", OWNER_ROLE)
    owner = given.get(OWNER_URL) or embedded
    return {**settings, OWNER_URL: owner} if owner else dict(settings)


def catalogue(layout: Layout, settings: Mapping[str, str]) -> Path:
    """The catalogue's file."""
    return layout.root / settings.get("SPAWNER_CATALOG", "images/catalog.yaml")


def proxy_settings(
    settings: Mapping[str, str], upstreams: Mapping[str, str], ask_port: int | None = None
) -> dict[str, str]:
    """Derive what deploy/Caddyfile reads from the two public addresses, and from those of API and gateway.

    `ask_port` is where the gateway is asked for certificates, if it is.
    """
    public = urlsplit(settings["SPAWNER_PUBLIC_URL"])
    workspaces = urlsplit(settings["SPAWNER_WORKSPACE_URL"].replace("{route}", "*"))
    local = all(_is_loopback(site.hostname or "") for site in (public, workspaces))
    loopback = "127.0.0.1 [::1]" if _has_ipv6() else "127.0.0.1"
    return {
        # An address that others on the network can reach is meant to be reached by them.
        "SPAWNER_BIND": loopback if local else "0.0.0.0",  # noqa: S104 # nosec B104 # the port is to be reached
        "SPAWNER_API_UPSTREAM": upstreams["api"],
        "SPAWNER_GATEWAY_UPSTREAM": upstreams["gateway"],
        **({"SPAWNER_GATEWAY_ASK": f"http://127.0.0.1:{ask_port}/internal/tls"} if ask_port else {}),
        "SPAWNER_PUBLIC_SITE": f"{public.scheme}://{public.netloc}",
        "SPAWNER_WORKSPACE_SITES": f"{workspaces.scheme}://{workspaces.netloc}",
    }


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost") or host.startswith("127.") or host == "::1"


def _has_ipv6() -> bool:
    """Say whether this machine has the IPv6 loopback address, which browsers try first for localhost."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def ensure_secret(path: Path) -> None:
    """Make the development secret once: 48 random bytes, readable by the owner alone."""
    if not path.exists():
        write_private(path, base64.b64encode(secrets.token_bytes(48)).decode() + "\n")
