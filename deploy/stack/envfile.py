"""The file that holds the settings of the running stack; light to import, every program of the stack reads it."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from deploy.stack.layout import write_private


def write_environment(path: Path, settings: Mapping[str, str]) -> None:
    """Write settings as lines that a POSIX shell can read too."""
    write_private(path, "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(settings.items())))


def read_environment(path: Path) -> dict[str, str]:
    """Read what `write_environment` wrote; nothing if there is no such file."""
    try:
        text = path.read_text()
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in shlex.split(text))


def load_environment(root: Path) -> dict[str, str]:
    """Set the stack's settings in this process where the caller's environment says nothing, and return them."""
    settings = read_environment(root / ".spawner" / "env")
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    return {name: os.environ[name] for name in settings}
