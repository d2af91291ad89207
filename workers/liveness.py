"""A worker's liveness probe: a small file with the worker's and its engine's state.

Imports neither application nor libraries: orchestrators run it every few seconds, on busy hosts. It contacts no
service, so an unavailable Redis gets no healthy worker killed.
"""

import os
import stat
import time

# The default; `Settings.heartbeat_dir` has the same one.
FOLDER = "/tmp/spawner-workers"  # noqa: S108 # nosec B108 # its owner is checked
VARIABLES = ("SPAWNER_HEARTBEAT_DIR", "SPAWNER_INSTANCE")
LIFE_SECONDS = 15
# Created by the worker in that folder with mode 0700: a Kubernetes emptyDir is world-writable.
PRIVATE = "live"


def heartbeat_path(folder: str, instance: str, place: str, pid: int | str) -> str:
    """Return a worker's file. Process ids are unique within `place`, see `workers.identity`."""
    return os.path.join(folder, PRIVATE, f"{instance}.{place.replace('/', '_')}.{pid}")  # noqa: PTH118 - loads no pathlib


def probe() -> int:
    """Print a sentence; return 0 if a worker of this place reported recently and can work, else 1."""
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
    """Return whether only this user can have written there; files of others are ignored.

    Root sees all workers.
    """
    found = os.stat(folder, follow_symlinks=False)  # noqa: PTH116
    return not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and os.geteuid() in (0, found.st_uid)


def _beats(folder: str, prefix: str) -> set[str]:
    """Return the workers' last states: `ok`, `loop_failing`, or their engine's error code."""
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
    """Return the two settings from the environment, else from `.env`."""
    given: dict[str, str | None] = {name: os.environ.get(name) for name in VARIABLES}
    if None in given.values() and os.path.exists(".env"):  # noqa: PTH110
        from dotenv import dotenv_values

        found = dotenv_values(".env")
        given = {name: value if value is not None else found.get(name) for name, value in given.items()}
    return given
