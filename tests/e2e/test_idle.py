"""An idle workspace on a true engine: it is frozen, wakes for the request that comes, and is let be while it works."""

import secrets
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.stack.console import StepFailed, wait_until
from tests.support.stack import ROOT, RunningStack, follow, running_stack
from tests.support.visit import NAVIGATION, Visit
from tests.support.waiting import PATIENCE

IDLE_SECONDS = 6
BUSY_SECONDS = 12
BURN = f"import time\nend = time.time() + {BUSY_SECONDS}\nwhile time.time() < end: pass"


@pytest.fixture(scope="module")
def stack(sample_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """An installation whose workspaces are frozen after seconds."""
    logs = tmp_path_factory.mktemp("idle")
    text = (ROOT / "images" / "catalog.yaml").read_text()
    text = text.replace("    idle_pause: 3600\n    idle_stop: 86400\n", "")
    text = "\n".join(line for line in text.splitlines() if not line.startswith("    build:"))
    short = f"    idle_pause: {IDLE_SECONDS}\n    port:"
    catalog = Path(logs / "catalog.yaml")
    catalog.write_text(text.replace("    port:", short))
    changes = {
        "SPAWNER_CATALOG": str(catalog),
        "SPAWNER_USAGE_SECONDS": "2",
        "SPAWNER_NETWORK_RANGE": "10.218.0.0/16",
    }
    with running_stack("path", f"e{secrets.token_hex(4)}", logs, changes=changes) as running:
        yield running


@pytest.fixture(scope="module")
def visit(stack: RunningStack) -> Iterator[Visit]:
    """Ida at her workspace."""
    with stack.client() as http:
        headers = stack.sign_up(http, "ida@example.org")
        yield Visit(stack, http, headers, launch(stack, http, headers, "hello"))


def launch(stack: RunningStack, http: httpx.Client, headers: dict[str, str], template: str) -> str:
    """Run a workspace and go in; its address."""
    accepted = http.post(f"{stack.public_url}/api/container/launch/{template}", headers=headers).json()
    if accepted["job"]:
        assert follow(http, stack, accepted["status_url"], headers)["state"] == "succeeded"
    page = http.get(accepted["service_url"], headers=NAVIGATION, follow_redirects=True)
    assert page.status_code == 200, page.text
    return str(accepted["service_url"])


def look(visit: Visit, template: str = "hello") -> dict[str, Any]:
    """The workspace as its owner sees it."""
    answer = visit.http.get(f"{visit.stack.public_url}/api/container/{template}", headers=visit.headers)
    body: dict[str, Any] = answer.json()
    return body


def wait_for(visit: Visit, status: str, template: str = "hello", seconds: float = PATIENCE) -> None:
    """Return once the workspace has the status."""

    def failure() -> StepFailed:
        return StepFailed(f"{template} is {look(visit, template)}\n{visit.stack.tail()}")

    wait_until(lambda: look(visit, template)["status"] == status, seconds, failure)


def container(visit: Visit, template: str = "hello") -> str:
    """The name of the container."""
    return next(name for name in visit.stack.containers() if f"ida-{template}" in name)


def docker(visit: Visit, *words: str) -> str:
    command = ["docker", "--host", visit.stack.engine.url, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def timed(visit: Visit) -> float:
    """Milliseconds of one request through the proxy."""
    began = time.perf_counter()
    answer = visit.http.get(f"{visit.url}headers")
    assert answer.status_code == 200, answer.text
    return (time.perf_counter() - began) * 1000


def test_an_idle_workspace_is_frozen_and_answers_the_next_request(visit: Visit) -> None:
    wait_for(visit, "paused")
    assert docker(visit, "inspect", "--format", "{{.State.Status}}", container(visit)) == "paused"
    assert look(visit)["rest"]["code"] == "idle_pause"
    timed(visit)
    body = look(visit)
    assert (body["status"], body["rest"]) == ("running", None)
    assert docker(visit, "inspect", "--format", "{{.State.Status}}", container(visit)) == "running"
    jobs = visit.http.get(f"{visit.stack.public_url}/api/jobs", headers=visit.headers).json()["jobs"]
    pause = next(job for job in jobs if job["kind"] == "pause")
    assert (pause["platform"], pause["timeline"][0]["detail"]) == (True, "idle_pause")


def test_a_wake_costs_little(visit: Visit) -> None:
    running = [timed(visit) for _ in range(10)]
    woken = []
    for _ in range(10):
        docker(visit, "pause", container(visit))
        wait_for(visit, "paused")
        woken.append(timed(visit))
    extra = [wake - statistics.median(running) for wake in woken]
    print(
        f"\na running workspace answers in {statistics.median(running):.0f} ms; "
        f"a wake adds {statistics.median(extra):.0f} ms (at most {max(extra):.0f} ms)"
    )


def test_a_websocket_to_a_frozen_workspace_connects_and_does_not_keep_it_awake_by_being_open(visit: Visit) -> None:
    docker(visit, "pause", container(visit))
    wait_for(visit, "paused")
    with visit.websocket(visit.origin) as websocket:
        websocket.send("awake?")
        assert websocket.recv(timeout=PATIENCE) == "awake?"
        wait_for(visit, "paused")
        timed(visit)
        websocket.send("still there?")
        assert websocket.recv(timeout=PATIENCE) == "still there?"


def test_frames_of_a_websocket_keep_a_workspace_awake(visit: Visit) -> None:
    until = time.monotonic() + 3 * IDLE_SECONDS
    with visit.websocket(visit.origin) as websocket:
        while time.monotonic() < until:
            websocket.send("x" * 1000)
            assert websocket.recv(timeout=PATIENCE) == "x" * 1000
            time.sleep(0.5)
        assert look(visit)["status"] == "running"


def test_an_idle_notebook_server_is_frozen_but_not_while_something_computes(visit: Visit) -> None:
    launch(visit.stack, visit.http, visit.headers, "jupyter")
    docker(visit, "exec", "--detach", container(visit, "jupyter"), "python3", "-c", BURN)
    until = time.monotonic() + BUSY_SECONDS - 2
    while time.monotonic() < until:
        assert look(visit, "jupyter")["status"] == "running"
        time.sleep(1)
    wait_for(visit, "paused", "jupyter")
