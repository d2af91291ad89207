"""The mail sink's newest mails, for many who wait."""

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.stack.demo import find_token
from deploy.stack.inbox import read_mail

LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Delivered:
    """A mail's token, and when the sink had it, in seconds since the epoch."""

    token: str
    delivered: float


class Mailbox:
    """Reads each new mail once, ten times a second."""

    def __init__(self, maildir: Path) -> None:
        self._folder = maildir / "new"
        self._seen: set[str] = set()
        self._waiting: dict[str, asyncio.Future[Delivered]] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._seen = {path.name for path in self._folder.glob("*")}
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def wait(self, address: str, seconds: float) -> Delivered | None:
        """The first mail to an address that has a token; None where none comes in time."""
        arrived = self._waiting.setdefault(address, asyncio.get_running_loop().create_future())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await arrived
        return None

    async def _watch(self) -> None:
        while True:
            for path in self._folder.iterdir():
                if path.name not in self._seen:
                    self._seen.add(path.name)
                    mail = read_mail(path)
                    arrived = self._waiting.setdefault(mail.to, asyncio.get_running_loop().create_future())
                    token = find_token(mail.links)
                    if token is not None and not arrived.done():
                        arrived.set_result(Delivered(token, mail.delivered))
            await asyncio.sleep(LOOK_SECONDS)
