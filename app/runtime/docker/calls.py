"""Calls to the engine, and what their failures mean."""

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
# A busy machine may not get every process to stand still in time: the next pause finds them.
NOT_FROZEN = "unable to freeze"


class EngineRefused(RuntimeFault):
    """The engine answered with an error. `status` is its HTTP status, 0 where the error came inside a stream."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        # The engine's own troubles (a busy firewall lock, a full disk) may pass; a container that cannot be started
        # as it is described is an error of the same class, but stays one.
        self.transient = status >= 500 and ("OCI " not in message or NOT_FROZEN in message)


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turn whatever the client library raises into `EngineUnavailable` or `EngineRefused`.

    A `TypeError` or `KeyError` of our own code is a bug and passes as it is.
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
    """Whether the client library itself stumbled: over an answer that is not an engine's."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", "")).startswith("aiodocker")


@contextmanager
def ignore_not_found() -> Iterator[None]:
    """Pass over the engine's answer that there is no such thing."""
    try:
        yield
    except EngineRefused as refused:
        if refused.status != 404:
            raise


async def call(pending: Awaitable[T]) -> T:
    """Await one call to the engine under `engine_errors`."""
    with engine_errors():
        return await pending


async def shield_until_done(pending: Awaitable[T]) -> T:
    """Await one call that changes something. Cancelled, it ends no sooner than the engine has answered or timed out.

    A request whose connection is closed under it may still be carried out, after whatever comes next.
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
        task.exception()  # or asyncio complains that nobody looked at it
    raise cancelled
