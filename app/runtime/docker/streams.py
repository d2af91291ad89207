"""Streaming responses of the engine: pulls, logs, events.

The client library's readers do not close connections, nor distinguish an end from a break, so this module uses its
session directly.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiodocker
from aiohttp import ClientTimeout, StreamReader

from app.runtime.docker.calls import EngineRefused, engine_errors

FRAME_HEADER: Final = 8
# Bytes. Bounds memory for output without line ends.
MAX_LINE: Final = 64 * 1024


@asynccontextmanager
async def stream(
    docker: aiodocker.Docker,
    method: str,
    path: str,
    params: Mapping[str, str],
    *,
    answer_seconds: float | None,
    silence_seconds: float | None = None,
) -> AsyncIterator[StreamReader]:
    """Open a streaming response; closes the connection at the end, which makes the engine stop.

    Raises `EngineUnavailable` if the response does not start in time, and `EngineRefused` on an error.
    """
    with engine_errors():
        async with asyncio.timeout(answer_seconds):
            if docker.api_version == "auto":
                await docker.version()
            url = f"{docker.docker_host}/{docker.api_version}/{path}"
            timeout = ClientTimeout(sock_read=silence_seconds)
            response = await docker.session.request(method, url, params=params, timeout=timeout)
    try:
        if response.status >= 400:
            with engine_errors():
                answer = await response.json(content_type=None)
            message = answer.get("message") if isinstance(answer, dict) else None
            raise EngineRefused(response.status, message or "an error without a message")
        yield response.content
    finally:
        response.close()


async def next_object(content: StreamReader) -> dict[str, Any] | None:
    """Read one JSON line; None at the end. Raises `EngineUnavailable` on a break, `EngineRefused` for an error
    in it.
    """
    with engine_errors():
        line = await content.readline()
        data: dict[str, Any] | None = json.loads(line) if line.strip() else None
    if data is not None and "error" in data:
        raise EngineRefused(0, str(data["error"]))
    return data


async def log_lines(content: StreamReader) -> AsyncIterator[str]:
    """Split the frames of both output streams into lines; truncates long ones. The last line may lack its end.

    A frame may hold part of a line, and frames of both streams may interleave.
    """
    pending: dict[int, bytes] = {}
    while True:
        with engine_errors():
            try:
                header = await content.readexactly(FRAME_HEADER)
                chunk = await content.readexactly(int.from_bytes(header[4:], "big"))
            except asyncio.IncompleteReadError:
                break
        *lines, rest = (pending.get(header[0], b"") + chunk).split(b"\n")
        for line in lines:
            yield line[:MAX_LINE].decode(errors="replace")
        pending[header[0]] = rest[:MAX_LINE]
    for rest in filter(None, pending.values()):
        yield rest.decode(errors="replace")
