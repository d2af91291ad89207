"""Become a command with the stack's settings: `python -m deploy.stack.run COMMAND…`.

The settings, secrets among them, stand in one private file rather than in the supervisor's configuration.
"""

import os
import sys
from pathlib import Path

from deploy.stack.envfile import read_environment

if __name__ == "__main__":
    os.environ.update(read_environment(Path(__file__).resolve().parents[2] / ".spawner" / "env"))
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 # nosec B606 # becoming the command is the purpose
