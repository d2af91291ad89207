"""Is the application inside a container ready: its HTTP probe says, and where it does not, why not."""

import asyncio
from typing import Final

import httpx

from app.runtime.base import ContainerExited, Endpoint, RunState, Runtime, RuntimeFault

FIRST_PAUSE = 0.005
MAX_PAUSE = 0.5
READY_BELOW: Final = 500


class ProbeFailed(Exception):
    """The container runs, but its probe did not succeed in time. `code` says in which way, `detail` what was seen."""

    code = "probe_timeout"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ProbeTimeout(ProbeFailed):
    """Nothing answered in time: the application is slow, or stuck."""


class ProbeAnsweredError(ProbeFailed):
    """The application answered with an error to the end."""

    code = "probe_error"


class WrongPort(ProbeFailed):
    """The application takes connections, but not where the catalogue says."""

    code = "probe_wrong_port"


async def wait_ready(
    http: httpx.AsyncClient,
    runtime: Runtime,
    name: str,
    endpoint: Endpoint,
    path: str,
    *,
    port: int,
    seconds: float,
) -> None:
    """Ask until any answer below 500 comes; pauses grow from 5 ms to half a second.

    `port` is where the container is to listen, which an endpoint on the host's loopback does not tell. Raises a
    `ProbeFailed` after `seconds`, `ContainerExited` when the container has ended.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    pause, answered = FIRST_PAUSE, None
    while clock() < until:
        answered = await _answer(http, f"http://{endpoint.host}:{endpoint.port}{path}")
        if answered is not None and answered < READY_BELOW:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, MAX_PAUSE)
        if pause > MAX_PAUSE / 5:
            status = await runtime.status(name)
            if status.state in (RunState.EXITED, RunState.ABSENT):
                raise ContainerExited
    raise await _judged(runtime, name, port, seconds, answered)


async def _answer(http: httpx.AsyncClient, url: str) -> int | None:
    """The status of the answer, None where none came."""
    try:
        async with http.stream("GET", url) as response:
            return response.status_code
    except httpx.HTTPError:
        return None


async def _judged(runtime: Runtime, name: str, port: int, seconds: float, answered: int | None) -> ProbeFailed:
    """Tell what came last apart: an error, nothing from where it should come, or nothing yet."""
    if answered is not None:
        return ProbeAnsweredError(f"status {answered}")
    try:
        places = await runtime.listening(name)
    except RuntimeFault:
        places = None
    # Loopback is the container's own: nobody reaches it from outside.
    reachable = [place for place in places or () if not place.startswith(("127.", "[::1]"))]
    if places and not any(place.endswith(f":{port}") for place in reachable):
        return WrongPort(f"listens on {', '.join(places[:5])}, not on 0.0.0.0:{port}")
    return ProbeTimeout(f"no answer in {seconds:g} s")
