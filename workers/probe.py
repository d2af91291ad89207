"""Is the application inside a container ready: its HTTP probe says."""

import asyncio

import httpx

from app.runtime.base import ContainerExited, Endpoint, RunState, Runtime

FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.5


class ProbeTimeout(Exception):
    """The container runs but did not answer its probe in time."""


async def wait_ready(
    http: httpx.AsyncClient, runtime: Runtime, name: str, endpoint: Endpoint, path: str, *, seconds: float
) -> None:
    """Ask until any answer below 500 comes; pauses grow from 5 ms to half a second.

    Raises `ProbeTimeout` after `seconds`, `ContainerExited` when the container has ended.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    pause = FIRST_PAUSE
    while clock() < until:
        if await _answers(http, f"http://{endpoint.host}:{endpoint.port}{path}"):
            return
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)
        if pause > LONGEST_PAUSE / 5:
            status = await runtime.status(name)
            if status.state in (RunState.EXITED, RunState.ABSENT):
                raise ContainerExited
    raise ProbeTimeout


async def _answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        async with http.stream("GET", url) as response:
            return response.status_code < 500
    except httpx.HTTPError:
        return False
