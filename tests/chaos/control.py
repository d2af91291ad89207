"""How the suite reaches into the processes that it runs: a directory of files, which its entry points read."""

import enum
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from app.core import clock
from app.models import JobKind
from workers.jobs.checkpoints import Checkpoint

VARIABLE = "SPAWNER_CHAOS"

STARTS = (Checkpoint.CLAIMED, Checkpoint.PULLED, Checkpoint.RUNNING, Checkpoint.PROBED, Checkpoint.WRITTEN)
# Where a worker can die: every checkpoint that a job of a kind comes by.
CHECKPOINTS: dict[JobKind, tuple[Checkpoint, ...]] = {
    JobKind.LAUNCH: STARTS,
    JobKind.RESTART: STARTS,
    JobKind.PAUSE: (Checkpoint.CLAIMED, Checkpoint.PAUSED, Checkpoint.WRITTEN),
    JobKind.STOP: (Checkpoint.CLAIMED, Checkpoint.STOPPED, Checkpoint.WRITTEN),
    JobKind.DELETE: (Checkpoint.CLAIMED, Checkpoint.REMOVED, Checkpoint.WRITTEN),
}
# What a launch comes by that takes a warm seat.
WARM_LAUNCH = (Checkpoint.CLAIMED, Checkpoint.NAMED, Checkpoint.RUNNING, Checkpoint.PROBED, Checkpoint.WRITTEN)


class Fate(enum.StrEnum):
    """What becomes of the worker whose pass of admission comes by next."""

    KILLED = "killed"
    FROZEN = "frozen"
    CUT_OFF = "cut-off"


@dataclass(frozen=True, slots=True)
class Control:
    """The directory, from either side."""

    directory: Path

    def arm(self, kind: JobKind | Fate, checkpoint: Checkpoint) -> None:
        """The next worker that comes by there dies, once, or meets the fate that is said."""
        (self.directory / f"{kind}-{checkpoint}").touch()

    def armed(self, kind: JobKind | Fate, checkpoint: Checkpoint) -> bool:
        return (self.directory / f"{kind}-{checkpoint}").exists()

    def disarm(self, kind: JobKind | Fate, checkpoint: Checkpoint) -> bool:
        """Take it; true for the one process that gets it."""
        try:
            (self.directory / f"{kind}-{checkpoint}").unlink()
        except FileNotFoundError:
            return False
        return True

    def strike(self, fate: Fate, pid: int) -> None:
        """Note which process met a fate, until `end`."""
        (self.directory / f"{fate}.{pid}").touch()

    def struck(self, fate: Fate, pid: int) -> bool:
        return (self.directory / f"{fate}.{pid}").exists()

    def end(self, fate: Fate) -> list[int]:
        """Take a fate from the processes that met it; returns their ids."""
        found = list(self.directory.glob(f"{fate}.*"))
        for path in found:
            path.unlink()
        return [int(path.suffix.removeprefix(".")) for path in found]

    def fill_disk(self, full: bool) -> None:
        """Let workers report that the engine's disk is full."""
        if full:
            self._disk.touch()
        else:
            self._disk.unlink(missing_ok=True)

    @property
    def disk_is_full(self) -> bool:
        return self._disk.exists()

    @property
    def _disk(self) -> Path:
        return self.directory / "disk"

    @property
    def ahead(self) -> timedelta:
        """How far the platform's clock is ahead of the machine's."""
        try:
            return timedelta(seconds=float((self.directory / "ahead").read_text()))
        except FileNotFoundError:
            return timedelta(0)

    def jump(self, seconds: float) -> None:
        """Set the platform's clock forward, in every process at once."""
        fresh = self.directory / "ahead.new"
        fresh.write_text(str(self.ahead.total_seconds() + seconds))
        fresh.rename(self.directory / "ahead")

    def now(self) -> datetime:
        """The platform's time."""
        return clock.system() + self.ahead


def from_environment() -> Control:
    """The directory that this process was started with; its clock follows it from now on."""
    control = Control(Path(os.environ[VARIABLE]))
    clock.source = control.now
    return control
