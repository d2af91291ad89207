"""One reading for everybody who wants the same."""

import asyncio

import pytest

from app.core.shared_reads import SharedReads


class Source:
    """What is read; each reading waits until it may end."""

    def __init__(self) -> None:
        self.begun = 0
        self.running = self.most = 0
        self.value = 0
        self.gate = asyncio.Event()

    async def read(self) -> int:
        self.begun += 1
        self.running += 1
        self.most = max(self.most, self.running)
        value = self.value
        await self.gate.wait()
        self.running -= 1
        return value


async def turn() -> None:
    """Let everything go on as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_all_who_ask_before_it_begins_share_one_reading() -> None:
    reads, source = SharedReads(1), Source()
    source.gate.set()
    assert await asyncio.gather(*(reads.read("job", source.read) for _ in range(300))) == [0] * 300
    assert source.begun == 1


async def test_whoever_asks_while_one_runs_sees_what_happened_before_they_asked() -> None:
    reads, source = SharedReads(1), Source()
    early = asyncio.create_task(reads.read("job", source.read))
    await turn()
    source.value = 1
    late = [asyncio.create_task(reads.read("job", source.read)) for _ in range(50)]
    await turn()
    source.gate.set()
    assert await early == 0
    assert await asyncio.gather(*late) == [1] * 50
    assert source.begun == 2


async def test_never_more_run_than_may() -> None:
    reads, source = SharedReads(3), Source()
    asked = [asyncio.create_task(reads.read(number, source.read)) for number in range(20)]
    await turn()
    assert source.running == 3
    source.gate.set()
    await asyncio.gather(*asked)
    assert (source.begun, source.most) == (20, 3)


async def test_whoever_goes_away_takes_the_reading_from_nobody_else() -> None:
    reads, source = SharedReads(1), Source()
    gone, stays = (asyncio.create_task(reads.read("job", source.read)) for _ in range(2))
    await turn()
    gone.cancel()
    await turn()
    source.gate.set()
    assert await stays == 0
    assert gone.cancelled()


async def test_an_error_reaches_everybody_and_the_next_reading_is_a_new_one() -> None:
    reads = SharedReads(1)

    async def fails() -> int:
        raise LookupError

    found = await asyncio.gather(*(reads.read("job", fails) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in found] == [LookupError] * 3
    with pytest.raises(LookupError):
        await reads.read("job", fails)
    await reads.finish()
