"""Engines that run containers."""

from app.runtime.base import Runtime


def make_runtime(docker_url: str, *, publish: str, starts: int) -> Runtime:
    """Connect to the engine at `docker_url`. Nothing is sent before the first call.

    `publish` is `never` (the proxy reaches the engine's bridge) or `loopback` (each workspace gets a host port).
    `starts` bounds how many containers this process makes or starts at once.
    """
    from app.runtime.docker import DockerRuntime

    return DockerRuntime(docker_url, publish=publish, starts=starts)
