"""Probes whether a container's application is ready, and diagnoses failures."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp

from app.runtime.base import ContainerExited, Endpoint, RunState, Runtime, RuntimeFault

FIRST_PAUSE = 0.005
MAX_PAUSE = 0.5
READY_BELOW: Final = 500
ANSWER = aiohttp.ClientTimeout(total=2)

# Returns the status of a GET at a container, or None if it does not answer.
AskStatus = Callable[[Endpoint, str], Awaitable[int | None]]


class ProbeFailed(Exception):
    """The container runs, but its probe timed out. `code` classifies the failure, `detail` has the observation."""

    code = "probe_timeout"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ProbeTimeout(ProbeFailed):
    """Nothing answered in time: the application is slow or stuck."""


class ProbeAnsweredError(ProbeFailed):
    """The application answered with errors until the timeout."""

    code = "probe_error"


class WrongPort(ProbeFailed):
    """The application listens, but not on the catalogue's port."""

    code = "probe_wrong_port"


async def wait_ready(
    ask: AskStatus,
    runtime: Runtime,
    name: str,
    endpoint: Endpoint,
    path: str,
    *,
    port: int,
    seconds: float,
) -> None:
    """Probe until a status below 500 arrives; pauses grow from 5 ms to half a second.

    `port` is the container's port, which a loopback endpoint does not show. Raises `ProbeFailed` after `seconds`,
    `ContainerExited` if the container has exited.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    pause, answered = FIRST_PAUSE, None
    while clock() < until:
        answered = await ask(endpoint, path)
        if answered is not None and answered < READY_BELOW:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, MAX_PAUSE)
        if pause > MAX_PAUSE / 5:
            status = await runtime.status(name)
            if status.state in (RunState.EXITED, RunState.ABSENT):
                raise ContainerExited
    raise await _judged(runtime, name, port, seconds, answered)


async def ask_status(endpoint: Endpoint, path: str) -> int | None:
    """Ask a container directly, without a proxy from the environment, within two seconds."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    url = f"http://{host}:{endpoint.port}{path}"
    try:
        async with aiohttp.request("GET", url, allow_redirects=False, timeout=ANSWER) as response:
            return response.status
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None


async def _judged(runtime: Runtime, name: str, port: int, seconds: float, answered: int | None) -> ProbeFailed:
    """Classify the last observation: an error, a wrong port, or no response."""
    if answered is not None:
        return ProbeAnsweredError(f"status {answered}")
    try:
        places = await runtime.listening(name)
    except RuntimeFault:
        places = None
    # Loopback addresses are not reachable from outside the container.
    reachable = [place for place in places or () if not place.startswith(("127.", "[::1]"))]
    if places and not any(place.endswith(f":{port}") for place in reachable):
        return WrongPort(f"listens on {', '.join(places[:5])}, not on 0.0.0.0:{port}")
    return ProbeTimeout(f"no answer in {seconds:g} s")
