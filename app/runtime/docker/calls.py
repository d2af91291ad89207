"""Engine calls and their errors."""

import asyncio
import traceback
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import aiohttp
from aiodocker.exceptions import DockerError

from app.runtime.base import EngineUnavailable, RuntimeFault

T = TypeVar("T")
UNREACHABLE = 900
# A busy machine may not freeze every process in time; the next attempt can succeed.
NOT_FROZEN = "unable to freeze"


class EngineRefused(RuntimeFault):
    """The engine answered with an error. `status` is its HTTP status, 0 for an error inside a stream."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        # 5xx errors such as a busy firewall lock or a full disk are transient; OCI errors mean that the container
        # cannot start as described.
        self.transient = status >= 500 and ("OCI " not in message or NOT_FROZEN in message)


@contextmanager
def engine_errors() -> Iterator[None]:
    """Convert exceptions of the client library to `EngineUnavailable` or `EngineRefused`.

    A `TypeError` or `KeyError` of our own code propagates: it is a bug.
    """
    try:
        yield
    except TimeoutError as error:
        raise EngineUnavailable("the engine did not answer in time") from error
    except DockerError as error:
        if error.status == UNREACHABLE:
            raise EngineUnavailable(error.message) from error
        raise EngineRefused(error.status, error.message) from error
    except (aiohttp.ClientError, OSError) as error:
        raise EngineUnavailable(f"the connection to the engine broke: {error}") from error
    except (ValueError, TypeError, KeyError) as error:
        if not isinstance(error, ValueError) and not _raised_by_library(error):
            raise
        raise EngineUnavailable("what answered is not a Docker engine") from error


def _raised_by_library(error: Exception) -> bool:
    """Return whether the client library raised, on a malformed response."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", "")).startswith("aiodocker")


@contextmanager
def ignore_not_found() -> Iterator[None]:
    """Ignore the engine's 404."""
    try:
        yield
    except EngineRefused as refused:
        if refused.status != 404:
            raise


async def call(pending: Awaitable[T]) -> T:
    """Await one engine call under `engine_errors`."""
    with engine_errors():
        return await pending


async def shield_until_done(pending: Awaitable[T]) -> T:
    """Await one mutating call. If cancelled, wait until the engine answers or the call times out.

    The engine may still execute a request after its connection closes, and after later requests.
    """
    task = asyncio.ensure_future(call(pending))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # retrieves the error, to avoid asyncio's warning
    raise cancelled
