"""`make compose-images`: every image of compose.yaml from this machine alone, and the lines of `.env` for them."""

import os
import sys
from contextlib import closing
from pathlib import Path

from deploy.compose.images import ensure_images
from deploy.stack.console import StepFailed, say, step
from deploy.stack.engine import ensure_engine
from deploy.stack.environment import given_settings
from deploy.stack.images import ensure_images as ensure_samples
from deploy.stack.images import samples
from deploy.stack.layout import open_layout


def main() -> int:
    """Build what is missing and say what to write into `.env`."""
    layout = open_layout(Path(__file__).resolve().parents[2])
    try:
        with step("Images of compose.yaml") as current:
            given = {**os.environ, **given_settings(layout.root, os.environ)}
            with closing(ensure_engine(given, layout.log("dockerd"), current)) as engine:
                names = ensure_images(engine, layout, current)
                ensure_samples(engine, samples(layout.root / "images/catalog.yaml"), layout, current.announce)
    except StepFailed as failure:
        if not failure.shown:
            say("✗", failure.reason)
        return 1
    print("\n  Put these lines into .env, then: docker compose up -d\n")
    for name, value in {"COMPOSE_FILE": "compose.yaml:deploy/compose/local.yaml", **names}.items():
        print(f"{name}={value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
