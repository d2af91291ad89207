"""Container runtimes."""

from typing import TYPE_CHECKING

from app.runtime.base import Runtime
from app.runtime.docker.policy import Allowed

if TYPE_CHECKING:
    from app.runtime.docker.firewall import Firewall


def make_runtime(docker_url: str, *, publish: str, starts: int, allowed: Allowed, firewall: "Firewall") -> Runtime:
    """Create a runtime for the engine at `docker_url`; connects at the first call.

    `publish` is `never` (the proxy reaches the engine's bridge) or `loopback` (each workspace gets a host port).
    `starts` limits concurrent creations and starts in this process. `allowed` holds privileges beyond the defaults;
    `firewall` enforces egress rules.
    """
    from app.runtime.docker.runtime import DockerRuntime

    return DockerRuntime(docker_url, publish=publish, starts=starts, allowed=allowed, firewall=firewall)
