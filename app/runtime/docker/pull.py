"""Pulls an image with progress."""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final

import aiodocker
from aiohttp import StreamReader

from app.runtime.base import EngineUnavailable, ImageMissing, ImagePullFailed, Phase, Progress, Report
from app.runtime.docker.calls import EngineRefused
from app.runtime.docker.streams import next_object, stream

FIRST_ANSWER_SECONDS: Final = 10.0
STALL_SECONDS: Final = 60.0
REPORT_SECONDS: Final = 0.25
NOT_THERE: Final = ("not found", "manifest unknown", "does not exist", "pull access denied", "denied:")
REGISTRY_BUSY: Final = ("toomanyrequests", "received unexpected http status")


class Layers:
    """Bytes of an image's layers reported so far. Neither number decreases."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}

    def add(self, line: dict[str, Any]) -> None:
        """Process one line of the engine's progress stream."""
        layer, status, detail = line.get("id", ""), line.get("status", ""), line.get("progressDetail") or {}
        if status == "Downloading" and "total" in detail:
            self._total[layer] = max(detail["total"], self._total.get(layer, 0))
            self._done[layer] = max(detail.get("current", 0), self._done.get(layer, 0))
        elif status in ("Download complete", "Pull complete") and layer in self._total:
            self._done[layer] = self._total[layer]

    @property
    def progress(self) -> Progress:
        return Progress(Phase.PULLING, sum(self._done.values()), sum(self._total.values()))


async def pull(
    docker: aiodocker.Docker,
    image: str,
    report: Report,
    *,
    first_answer_seconds: float = FIRST_ANSWER_SECONDS,
    stall_seconds: float = STALL_SECONDS,
) -> None:
    """Pull `image`, reporting bytes at most four times a second. Idempotent; completed layers are kept.

    Raises `ImageMissing` if no registry has it, `ImagePullFailed` if the stream breaks or stalls, and
    `EngineUnavailable`. May return without the image: the caller must check.
    """
    await report(Progress(Phase.PULLING))
    layers, clock = Layers(), asyncio.get_running_loop().time
    async with AsyncExitStack() as open_streams:
        try:
            async with asyncio.timeout(first_answer_seconds):
                content = await open_streams.enter_async_context(_ask(docker, image))
                line = await next_object(content)
        except TimeoutError as error:
            raise ImageMissing(f"{image} is not on this engine, and no registry answered for it") from error
        except EngineRefused as error:
            # An error before the first line means a missing image, unless the registry is busy.
            if any(word in str(error).lower() for word in REGISTRY_BUSY):
                raise ImagePullFailed(f"{image}: {error}") from error
            raise ImageMissing(f"{image} is not on this engine, and no registry has it: {error}") from error
        reported = clock()
        while line is not None:
            layers.add(line)
            if clock() - reported >= REPORT_SECONDS:
                reported = clock()
                await report(layers.progress)
            line = await _next(content, image, stall_seconds)
    await report(layers.progress)


def _ask(docker: aiodocker.Docker, image: str) -> AbstractAsyncContextManager[StreamReader]:
    """Start the pull; without a tag the engine would pull all tags."""
    params = {"fromImage": image}
    if ":" not in image.rpartition("/")[2] and "@" not in image:
        params["tag"] = "latest"
    return stream(docker, "POST", "images/create", params, answer_seconds=None)


async def _next(content: StreamReader, image: str, seconds: float) -> dict[str, Any] | None:
    try:
        async with asyncio.timeout(seconds):
            return await next_object(content)
    except TimeoutError as error:
        raise ImagePullFailed(f"{image}: nothing came for {seconds:.0f} s") from error
    except EngineUnavailable as error:
        raise ImagePullFailed(f"{image}: {error}") from error
    except EngineRefused as error:
        if any(word in str(error).lower() for word in NOT_THERE):
            raise ImageMissing(f"{image}: {error}") from error
        raise ImagePullFailed(f"{image}: {error}") from error
