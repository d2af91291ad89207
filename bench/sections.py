"""The parts of `make bench`: what each measures, its share of the time, and in which installation."""

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

# What is left of ten minutes once the last installation has been removed.
ALL_SECONDS = 580
# Forty small workspaces fit on any machine.
ROOMY = {"SPAWNER_CATALOG": str(ROOT / "bench" / "catalog.yaml"), "SPAWNER_CPU_OVERCOMMIT": "100"}


@dataclass(frozen=True, slots=True)
class Installation:
    """What a section runs in. Sections that follow each other in an equal one share it."""

    mode: Literal["path", "host"] = "path"
    worker_module: str = "workers"
    changes: Mapping[str, str] = field(default_factory=lambda: ROOMY)
    durable: bool = True


@dataclass(frozen=True, slots=True)
class Section:
    """`rows` yields each row as soon as it is measured. `seconds` is its share of the whole run's."""

    name: str
    rows: Callable[[Any], AsyncIterator[Row]]
    seconds: int
    about: str
    installation: Installation | None = Installation()

    def follows(self, other: "Section") -> bool:
        """Whether it may run in the installation that the other one has left."""
        return self.installation == other.installation


# Its launches need no networks.
WARM = Installation(mode="host", changes={**warm.SETTINGS, "SPAWNER_NETWORK_POOL": "8"})
ONE_WORKER = Installation(worker_module="bench.fake_worker", changes=one_worker.SETTINGS)
# Forty workspaces fill it, whatever the machine has.
FULL = Installation(changes={**ROOMY, "SPAWNER_RUNNING_LIMIT": "40"})

SECTIONS = (
    Section("memory", memory.memory, 5, "memory of each process at rest"),
    Section("alone", launches.alone, 30, "one launch at a time, against the engine alone"),
    Section("burst", launches.burst, 40, "40 launches in one instant"),
    Section("processor", launches.processor, 25, "the platform's own processor time for a launch, by process"),
    Section("meanwhile", meanwhile.meanwhile, 35, "polls and the gateway while 40 launches run"),
    Section("reads", reads.reads, 25, "the API's reads, against bare uvicorn"),
    Section(
        "gateway", gateway.gateway, 30, "decisions and requests to workspaces, against bare uvicorn and plain Caddy"
    ),
    Section("priorities", priorities.priorities, 30, "launches while workspaces burn the processor"),
    Section("filled", filled.filled, 60, "100,000 users and 1,000,000 jobs against an empty installation"),
    Section("relay", relay.relay, 20, "websockets and POSTs through the relay, against plain Caddy", None),
    Section("signin", sign_in.sign_in, 35, "spending mailed links, one at a time and 100 at once", FULL),
    Section("people", people.people, 95, "100 people sign in and launch within a minute", FULL),
    Section("crowd", people.crowd, 95, "300 people within a minute", FULL),
    Section("worker", one_worker.one_worker, 40, "600 launches through one worker with a slow engine", ONE_WORKER),
    Section("warm", warm.warm, 55, "until the page of a warm workspace answers", WARM),
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
