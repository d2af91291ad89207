"""The parts of `make bench`: what each measures, how long it may take, and in which installation."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench import (
    filled,
    gateway,
    launches,
    meanwhile,
    memory,
    one_worker,
    people,
    priorities,
    reads,
    relay,
    sign_in,
    warm,
)
from bench.table import Row
from tests.support.stack import ROOT

ALL_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Installation:
    """What a section runs in. Sections that follow each other in an equal one share it."""

    mode: Literal["path", "host"] = "path"
    worker_module: str = "workers"
    changes: Mapping[str, str] = field(default_factory=dict)
    durable: bool = True


@dataclass(frozen=True, slots=True)
class Section:
    """`rows` yields each row as soon as it is measured. `fresh` begins in an installation of its own, and ends it."""

    name: str
    rows: Callable[[Any], AsyncIterator[Row]]
    seconds: int
    about: str
    installation: Installation | None = Installation()
    fresh: bool = False

    def follows(self, other: "Section") -> bool:
        """Whether it may run in the installation that the other one has left."""
        return self.installation == other.installation and not self.fresh and not other.fresh


ONE_WORKER = Installation(worker_module="bench.fake_worker", changes=one_worker.SETTINGS)
WARM = Installation(mode="host", changes=warm.SETTINGS)
BURNING = Installation(changes={"SPAWNER_CATALOG": str(ROOT / "bench" / "catalog.yaml")})

SECTIONS = (
    Section("memory", memory.memory, 20, "memory of each process at rest"),
    Section("alone", launches.alone, 90, "one launch at a time, against the engine alone"),
    Section("burst", launches.burst, 120, "40 launches in one instant"),
    Section("processor", launches.processor, 80, "the platform's own processor time for a launch, by process"),
    Section("meanwhile", meanwhile.meanwhile, 90, "polls and the gateway while 40 launches run"),
    Section("reads", reads.reads, 75, "the API's reads, against bare uvicorn"),
    Section(
        "gateway", gateway.gateway, 75, "decisions and requests to workspaces, against bare uvicorn and plain Caddy"
    ),
    Section("relay", relay.relay, 60, "websockets and POSTs through the relay, against plain Caddy", None),
    Section("signin", sign_in.sign_in, 90, "spending mailed links, one at a time and 100 at once", fresh=True),
    Section("people", people.people, 110, "100 people sign in and launch within a minute", fresh=True),
    Section("crowd", people.crowd, 110, "300 people within a minute", fresh=True),
    Section("worker", one_worker.one_worker, 100, "600 launches through one worker with a slow engine", ONE_WORKER),
    Section("warm", warm.warm, 80, "until the page of a warm workspace answers", WARM),
    Section("priorities", priorities.priorities, 90, "launches while workspaces burn the processor", BURNING),
    Section("filled", filled.filled, 150, "100,000 users and 1,000,000 jobs against an empty installation", fresh=True),
)


def parse_only(text: str, names: Sequence[str]) -> list[str]:
    """The names that a comma list asks for, in the order in which they run; all where it is empty.

    Raises `ValueError` with a sentence for a name that there is not.
    """
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in names:
            raise ValueError(f"there is no section {name}; there are: {', '.join(names)}")
    return [name for name in names if not wanted or name in wanted]
