"""One installation for each way of naming workspaces; the sample images are built first if they are missing."""

import os
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deploy.stack.engine import Engine, engine_url
from deploy.stack.images import missing, samples
from tests.e2e.stack import ROOT, Mode, RunningStack, running_stack


@pytest.fixture(scope="package")
def sample_images() -> None:
    """The images of the catalogue; `make test` builds them before the tests begin."""
    with closing(Engine(engine_url(os.environ))) as engine:
        lacking = missing(engine, samples(ROOT / "images" / "catalog.yaml"))
    if lacking:
        pytest.fail(f"build the sample images first, with make up or make test: {lacking}", pytrace=False)


@pytest.fixture(scope="package", params=["path", "host"])
def stack(
    request: pytest.FixtureRequest, sample_images: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    """The installation, in path mode and in host mode."""
    mode: Mode = request.param
    logs: Path = tmp_path_factory.mktemp(f"stack-{mode}")
    with running_stack(mode, f"e{secrets.token_hex(4)}", logs) as running:
        yield running
