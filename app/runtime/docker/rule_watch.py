"""Watches the kernel's notifications of removals from an nftables table (netlink, group NFTABLES)."""

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import AsyncGenerator, Iterator
from typing import Final

from app.runtime.base import EgressUnenforceable

FAMILY_NETFILTER: Final = 12
GROUP_NFTABLES: Final = 7
SUBSYSTEM_NFTABLES: Final = 10
# Removal of a table, chain, rule, set and element.
DELETED: Final = frozenset((SUBSYSTEM_NFTABLES << 8) | number for number in (2, 5, 8, 11, 14))
HEADER: Final = struct.Struct("=IHHII")
GENERIC_BYTES: Final = 4
ATTRIBUTE: Final = struct.Struct("=HH")
# The first attribute of each message is the table's name.
TABLE_NAME: Final = 1
TYPE_MASK: Final = 0x3FFF
BUFFER_BYTES: Final = 1 << 16


def open_watch() -> socket.socket:
    """Subscribe; no later removal is missed silently. Raises `EgressUnenforceable`."""
    try:
        watch = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, FAMILY_NETFILTER)
    except (OSError, AttributeError) as error:
        raise EgressUnenforceable(f"this system does not tell of changes to rules: {error}") from None
    try:
        watch.bind((0, 1 << (GROUP_NFTABLES - 1)))
    except OSError as error:
        watch.close()
        raise EgressUnenforceable(f"changes to rules are not told to this process: {error}") from None
    watch.setblocking(False)
    return watch


async def removals(watch: socket.socket, table: str) -> AsyncGenerator[None, None]:
    """Yield after removals from the table, also if some may have been lost; merges simultaneous ones."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            lost = table in _tables(await loop.sock_recv(watch, BUFFER_BYTES))
            while not lost:
                lost = table in _tables(watch.recv(BUFFER_BYTES))
        except BlockingIOError:
            continue
        except OSError as error:
            # ENOBUFS: the kernel dropped messages.
            if error.errno != errno.ENOBUFS:
                raise
        _drain(watch)
        yield


def _drain(watch: socket.socket) -> None:
    """Discard queued messages: the caller checks the whole table anyway."""
    with contextlib.suppress(BlockingIOError):
        while True:
            try:
                watch.recv(BUFFER_BYTES)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise


def _tables(data: bytes) -> Iterator[str]:
    """Yield the table of each removal in a datagram."""
    start = 0
    while start + HEADER.size <= len(data):
        length, kind, *_ = HEADER.unpack_from(data, start)
        place = start + HEADER.size + GENERIC_BYTES
        if kind in DELETED and place + ATTRIBUTE.size <= len(data):
            size, name = ATTRIBUTE.unpack_from(data, place)
            if name & TYPE_MASK == TABLE_NAME:
                yield data[place + ATTRIBUTE.size : place + size].rstrip(b"\0").decode(errors="replace")
        start += max((length + 3) & ~3, HEADER.size)
