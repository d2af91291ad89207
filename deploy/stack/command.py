"""The `spawner` command of a clone: the operator's commands, with the settings of the stack that runs here."""

from pathlib import Path

from deploy.stack.envfile import load_environment

if __name__ == "__main__":
    load_environment(Path(__file__).resolve().parents[2])

    from app.cli.__main__ import main  # what it loads reads the settings

    main()
