"""Schemathesis against the running API: whatever is sent, it answers as its document says, and never crashes."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import schemathesis
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck
from hypothesis import settings as examples
from schemathesis.checks import positive_data_acceptance
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig

from app.core.settings.model import Settings
from app.health.presence import announce, presence_key
from app.main import create_app
from app.resources import Resources
from tests.conftest import ROOT
from tests.support.factories import SignedIn, make_user, sign_in
from tests.support.ports import reserved_port
from tests.support.waiting import PATIENCE

EXAMPLES = 25


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app behind uvicorn, with its own lifespan, in a thread of its own; yields its address."""
    port = reserved_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, access_log=False, proxy_headers=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.started
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
async def alice(resources: Resources) -> SignedIn:
    """Somebody who may do everything that the document describes."""
    return await sign_in(resources, await make_user(resources, is_admin=True))


@pytest.fixture
async def beating(resources: Resources) -> None:
    """A worker whose engine answers."""
    await announce(resources.redis, presence_key(resources.settings, "workers"), "one:1", "ok", 3600)


@pytest.fixture
def address(settings: Settings, alice: SignedIn, beating: None) -> Iterator[str]:
    """The API running on real services, where alice is signed in."""
    with served(create_app(settings)) as url:
        yield url


def load() -> schemathesis.BaseSchema:
    """The committed document, which another test holds equal to the API's own."""
    # Who calls is settled by `headers` below, and by the check that leaves them out.
    generation = GenerationConfig(
        max_examples=EXAMPLES, deterministic=True, no_shrink=True, with_security_parameters=False
    )
    projects = ProjectsConfig(default=ProjectConfig(generation=generation))
    config = SchemathesisConfig(seed=20261123, projects=projects)
    return schemathesis.openapi.from_path(ROOT / "docs" / "openapi.json", config=config)


@load().parametrize()
@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the server serves all of them
def test_whatever_is_sent_the_answer_is_one_of_the_document(case: Any, address: str, alice: SignedIn) -> None:
    # An address, a link or a type may fit the schema, and be none of ours all the same.
    excluded = [positive_data_acceptance]
    case.call_and_validate(base_url=address, headers=alice.headers, excluded_checks=excluded, timeout=PATIENCE)
