"""The liveness probe of a worker: a small file that says that the worker lives, and how its engine answers.

Loads nothing of the application and of no library: orchestrators ask every few seconds, on hosts that are busy. It asks
nobody else either, so that a Redis that is away gets no healthy worker killed.
"""

import os
import stat
import time

# Where `.env` and the environment say nothing; `Settings.heartbeat_dir` reads the same.
FOLDER = "/tmp/spawner-workers"  # noqa: S108 # nosec B108 # its owner is checked
VARIABLES = ("SPAWNER_HEARTBEAT_DIR", "SPAWNER_INSTANCE")
LIFE_SECONDS = 15
# Made by the worker within that folder, for itself alone: an emptyDir of Kubernetes may be written by anybody.
PRIVATE = "live"


def heartbeat_path(folder: str, instance: str, place: str, pid: int | str) -> str:
    """Name a worker's file. Process ids are unique within `place`, which `workers.identity` says."""
    return os.path.join(folder, PRIVATE, f"{instance}.{place.replace('/', '_')}.{pid}")  # noqa: PTH118 - loads no pathlib


def probe() -> int:
    """Print a sentence; return 0 if a worker of this place was heard of lately and can work, else 1."""
    from workers.identity import place

    given = _settings()
    folder, instance = given.get(VARIABLES[0]) or FOLDER, given.get(VARIABLES[1]) or "spawner"
    beats = _beats(*os.path.split(heartbeat_path(folder, instance, place(), "")))
    if not beats:
        print(f"no worker of this host was heard of lately in {folder}")  # noqa: T201
        return 1
    if beats == {"loop_failing"}:
        print("a background loop of this host's workers keeps failing: their log says which")  # noqa: T201
        return 1
    if "ok" not in beats:
        print(f"the engine does not answer this host's workers: {', '.join(sorted(beats))}")  # noqa: T201
        return 1
    print("a worker lives and its engine answers")  # noqa: T201
    return 0


def is_private(folder: str) -> bool:
    """Whether only this user can have written there: what others could have written says nothing.

    Root looks at all workers.
    """
    found = os.stat(folder, follow_symlinks=False)  # noqa: PTH116
    return not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and os.geteuid() in (0, found.st_uid)


def _beats(folder: str, prefix: str) -> set[str]:
    """What workers last said of themselves: `ok`, `loop_failing`, or the code of what their engine failed with."""
    beats: set[str] = set()
    try:
        if not is_private(folder):
            return beats
        for entry in os.scandir(folder):
            if entry.name.startswith(prefix) and time.time() - entry.stat().st_mtime < LIFE_SECONDS:
                with open(entry.path) as file:  # noqa: PTH123
                    beats.add(file.read(100))
    except OSError:
        pass
    return beats


def _settings() -> dict[str, str | None]:
    """The two settings from the environment, and from `.env` where it says nothing."""
    given: dict[str, str | None] = {name: os.environ.get(name) for name in VARIABLES}
    if None in given.values() and os.path.exists(".env"):  # noqa: PTH110
        from dotenv import dotenv_values

        found = dotenv_values(".env")
        given = {name: value if value is not None else found.get(name) for name, value in given.items()}
    return given
