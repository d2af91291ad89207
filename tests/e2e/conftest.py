"""One installation for each way of naming workspaces; its templates' images must be built before."""

import os
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, sync_playwright

from deploy.stack.engine import Engine, engine_url
from deploy.stack.images import missing, samples
from tests.support.chromium import launch_browser
from tests.support.stack import ROOT, Mode, RunningStack, running_stack

CATALOGUES = (ROOT / "images" / "catalog.yaml", ROOT / "tests" / "templates" / "catalog.yaml")


@pytest.fixture(scope="package")
def sample_images() -> None:
    """The images of both catalogues; `make test` builds them before the tests begin."""
    with closing(Engine(engine_url(os.environ))) as engine:
        lacking = [sample for catalogue in CATALOGUES for sample in missing(engine, samples(catalogue))]
    if lacking:
        pytest.fail(f"build the templates' images first, with make test: {lacking}", pytrace=False)


def write_catalogue(path: Path) -> None:
    """Write both catalogues as one. Builds are left out: their paths would have to be below the new file's."""
    ours, others = [yaml.safe_load(catalogue.read_text())["templates"] for catalogue in CATALOGUES]
    for template in [*ours, *others]:
        del template["build"]
    for template in others:
        template.pop("default", None)
    path.write_text(yaml.safe_dump({"templates": [*ours, *others]}))


@pytest.fixture(scope="package", params=["path", "host"])
def stack(
    request: pytest.FixtureRequest, sample_images: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    """The installation, in path mode and in host mode, with every template that tests use."""
    mode: Mode = request.param
    logs: Path = tmp_path_factory.mktemp(f"stack-{mode}")
    catalogue = logs / "catalog.yaml"
    write_catalogue(catalogue)
    with running_stack(mode, f"e{secrets.token_hex(4)}", logs, changes={"SPAWNER_CATALOG": str(catalogue)}) as running:
        yield running


@pytest.fixture(scope="module")
def browser(stack: RunningStack) -> Iterator[Browser]:
    """One Chromium for the tests of a file; each person gets a profile of their own.

    It ends before its installation does: while Playwright's loop runs, the next one could not be started.
    """
    with sync_playwright() as playwright, launch_browser(playwright) as running:
        yield running
