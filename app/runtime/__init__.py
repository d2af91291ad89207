"""Engines that run containers."""

from typing import TYPE_CHECKING

from app.runtime.base import Runtime
from app.runtime.docker.policy import Allowed

if TYPE_CHECKING:
    from app.runtime.docker.firewall import Firewall


def make_runtime(docker_url: str, *, publish: str, starts: int, allowed: Allowed, firewall: "Firewall") -> Runtime:
    """Connect to the engine at `docker_url`. Nothing is sent before the first call.

    `publish` is `never` (the proxy reaches the engine's bridge) or `loopback` (each workspace gets a host port).
    `starts` bounds how many containers this process makes or starts at once; `allowed` is what the operator lets
    containers have beyond the rest, `firewall` holds where they connect to.
    """
    from app.runtime.docker.runtime import DockerRuntime

    return DockerRuntime(docker_url, publish=publish, starts=starts, allowed=allowed, firewall=firewall)
