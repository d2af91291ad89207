"""The commands behind the Makefile: `python -m deploy.stack up`."""

import argparse
import os
import sys
from pathlib import Path

from deploy.stack.console import StepFailed, say
from deploy.stack.down import clean, down
from deploy.stack.inbox import print_inbox
from deploy.stack.layout import open_layout
from deploy.stack.status import logs, status
from deploy.stack.up import background_images, only_one, prepare_tests, up

COMMANDS = ("up", "down", "status", "logs", "inbox", "demo", "clean", "images", "prepare")


def main(command: str) -> int:
    """Run one command and return its exit code; a step that fails has printed why."""
    root = Path(__file__).resolve().parents[2]
    try:
        layout = open_layout(root)
        if command in ("up", "down", "clean"):
            with only_one(layout):
                {"up": up, "down": down, "clean": clean}[command](layout)
            if command == "down":
                print("  Workspaces and data are kept; make up brings the rest back.")
        elif command == "status":
            return 0 if status(layout) else 1
        elif command == "logs":
            logs(layout, os.environ.get("PART", ""))
        elif command == "inbox":
            print_inbox(layout.maildir)
        elif command == "demo":
            from deploy.stack.demo import demo  # it draws, which takes its time to load

            demo(layout)
        elif command == "images":
            background_images(layout)
        else:
            prepare_tests(root, layout)
    except StepFailed as failure:
        if not failure.shown:
            say("✗", failure.reason)
        return 1
    except KeyboardInterrupt:
        say("✗", "interrupted; what was started runs on, and make down stops it")
        return 130
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="deploy.stack", description="The embedded stack of Spawner.")
    parser.add_argument("command", choices=COMMANDS)
    sys.exit(main(parser.parse_args().command))
