"""Runs sections in child processes, each within its time; whatever a child does, its rows up to then are kept."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.sections import Section
from bench.table import Row, not_reached
from deploy.stack.engine import Engine, EngineFailed, engine_url
from deploy.stack.rules import remove_rules

START_SECONDS = 60
STOP_SECONDS = 30
# Less than this is not worth beginning with.
LEAST_SECONDS = 15


class Runner:
    """`rows` holds what was measured up to now, by section; `left` the sections that have not begun."""

    def __init__(self, sections: list[Section], logs: Path, seconds: float) -> None:
        self.rows: dict[str, list[Row]] = {section.name: [] for section in sections}
        self.left = list(sections)
        self._logs = logs
        self._until = time.monotonic() + seconds

    async def run(self) -> None:
        """Run all sections, as long as there is time."""
        shutil.rmtree(self._logs, ignore_errors=True)
        while self.left:
            if self._remaining() < LEAST_SECONDS:
                for section in self.left:
                    self._add(section.name, not_reached(section.about, "the time of the whole run was over"))
                return
            batch = [self.left[0]]
            for section in self.left[1:]:
                if not section.follows(batch[-1]):
                    break
                batch.append(section)
            await self._child(batch)

    def _remaining(self) -> float:
        return self._until - time.monotonic()

    def share(self, section: Section, remaining: float) -> float:
        """After how many of the remaining seconds a section is cut, so that none hides the others.

        It may take half as much again as its share. If one takes less than that, all that are left get more.
        """
        return min(1.5 * section.seconds / sum(one.seconds for one in self.left), 1) * remaining

    def _add(self, name: str, row: Row) -> None:
        self.rows[name].append(row)
        print(f"{name}: {row.what}: {row.measured} {row.verdict}", file=sys.stderr, flush=True)

    async def _child(self, batch: list[Section]) -> None:
        """One process for sections that share an installation; those that it did not come to are left."""
        instance = f"b{secrets.token_hex(4)}"
        logs = self._logs / batch[0].name
        logs.mkdir(parents=True)
        with (logs / "child.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bench.child", instance, str(logs), *(section.name for section in batch)),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        current, why = "", "the run was stopped"
        try:
            current, why = await self._listen(process, batch)
        finally:
            await _end(process)
            await asyncio.to_thread(_clear, instance)
            if why:
                what = "the rest of this section"
                if not current:
                    section = self.left.pop(0)
                    current, what = section.name, section.about
                self._add(current, not_reached(what, why))

    async def _listen(self, process: asyncio.subprocess.Process, batch: list[Section]) -> tuple[str, str]:
        """Read the child's lines until it has ended or its time is over.

        Returns which section was under way, empty for none, and why it did not end, empty where all have.
        """
        assert process.stdout is not None
        waiting = {section.name: section for section in batch}
        current, until = "", time.monotonic() + min(START_SECONDS, self._remaining())
        while True:
            try:
                async with asyncio.timeout(max(until - time.monotonic(), 0)):
                    line = await process.stdout.readline()
            except TimeoutError:
                return current, "the time was over" if current or waiting else ""
            said: dict[str, Any] = json.loads(line) if line else {}
            if "begin" in said:
                current = said["begin"]
                until = time.monotonic() + self.share(waiting.pop(current), self._remaining())
                self.left.pop(0)
            elif "row" in said:
                self._add(current, Row(**said["row"]))
            elif "end" in said:
                current, until = "", time.monotonic() + STOP_SECONDS
            elif "failed" in said:
                return current, said["failed"]
            else:
                return current, "the measuring process ended" if current or waiting else ""


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let the child clear up, for a while. Its children end with it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _clear(instance: str) -> None:
    """Remove what a child that was killed left on the engine."""
    with contextlib.suppress(EngineFailed, OSError), closing(Engine(engine_url(os.environ))) as engine:
        for _ in engine.remove_labelled(f"spawner.instance={instance}"):
            pass
    remove_rules(instance)
