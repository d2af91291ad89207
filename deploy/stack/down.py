"""`make down` and `make clean`: stop the stack, and forget it."""

import os
import shutil
import sys
from pathlib import Path

from deploy.stack.console import StepFailed, say, step
from deploy.stack.engine import Engine, EngineFailed
from deploy.stack.envfile import read_environment
from deploy.stack.layout import Layout
from deploy.stack.rules import remove_rules
from deploy.stack.supervisor import Supervisor


def down(layout: Layout) -> None:
    """Stop every process of the stack, the last started first. Workspaces, the engine and all data stay."""
    with step("Stop") as current:
        was_up = Supervisor(layout).shutdown()
        current.detail = "" if was_up else "nothing was running"


def clean(layout: Layout) -> None:
    """Ask, then stop the stack and remove this clone's workspaces, their volumes and `.spawner`.

    CLEAN=yes answers for a script. Raises `StepFailed` if nobody agrees, or the engine cannot be cleaned.
    """
    settings = read_environment(layout.environment)
    instance = settings.get("SPAWNER_INSTANCE", "")
    print(
        f"This stops Spawner and removes every workspace and volume of {instance or 'this clone'}, and {layout.state}."
    )
    if os.environ.get("CLEAN") != "yes":
        if not sys.stdin.isatty():
            raise StepFailed("nobody is there to ask: CLEAN=yes make clean")
        if input("Type yes to go on: ").strip() != "yes":
            raise StepFailed("nothing was removed")
    down(layout)
    if instance:
        _remove_workspaces(settings["SPAWNER_DOCKER_URL"], instance)
    with step("Data"):
        outside = Path(f"/var/lib/spawner-{layout.identity}")
        for directory in (layout.run, outside, layout.state):
            if directory.exists():
                shutil.rmtree(directory)


def _remove_workspaces(docker_url: str, instance: str) -> None:
    with step("Workspaces") as current:
        removed = 0
        try:
            for name in Engine(docker_url).remove_labelled(f"spawner.instance={instance}"):
                say("-", name)
                removed += 1
        except EngineFailed as error:
            raise StepFailed(
                f"the engine at {docker_url} could not be cleaned, so {instance}'s data were kept: {error}"
            ) from None
        removed += remove_rules(instance)
        current.detail = f"{removed} removed"
