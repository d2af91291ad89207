"""Whether the installation's API and gateway can serve, and are this installation's."""

import socket
from collections.abc import Mapping
from contextlib import closing

import httpx

from deploy.stack import web

READY = "ready"


def readiness(settings: Mapping[str, str]) -> dict[str, str]:
    """Ask the API through Caddy, and the gateway at its own address. By part, what it said; `READY` if it is."""
    gateway = settings["SPAWNER_GATEWAY_UPSTREAM"]
    path = gateway.removeprefix("unix/") if gateway.startswith("unix/") else None
    url = "http://gateway" if path is not None else f"http://{gateway}"
    instance = settings["SPAWNER_INSTANCE"]
    with web.client(5) as through_caddy, web.client(5, socket=path) as direct:
        return {
            "api": _ask(through_caddy, f"{settings['SPAWNER_PUBLIC_URL']}/readyz", instance),
            "gateway": _ask(direct, f"{url}/readyz", instance, path),
        }


def _ask(client: httpx.Client, url: str, instance: str, path: str | None = None) -> str:
    try:
        # httpx leaves the socket open where it cannot connect.
        if path is not None:
            with closing(socket.socket(socket.AF_UNIX)) as probe:
                probe.connect(path)
        answer = client.get(url)
        said = answer.json()
    except (httpx.HTTPError, ValueError, OSError) as error:
        return str(error) or type(error).__name__
    if not isinstance(said, dict) or said.get("instance") != instance:
        return f"{url} is answered by another installation, and not by {instance}: {answer.text[:200]}"
    return READY if answer.status_code == 200 else f"{answer.status_code} {answer.text[:300]}"
