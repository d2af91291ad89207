"""From a mail to a workspace's page, through the real proxy and on the real engine."""

import time

import httpx
import pytest

from tests.e2e.stack import RunningStack


def follow(client: httpx.Client, stack: RunningStack, path: str, headers: dict[str, str]) -> dict[str, object]:
    """Long-poll a job until it ends."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = client.get(f"{stack.public_url}{path}", params={"wait": 10}, headers=headers)
        job: dict[str, object] = answer.json()
        if job["state"] not in ("queued", "running"):
            return job
    pytest.fail(f"the job did not end: {job}")


def test_a_person_signs_up_and_reaches_their_workspace_through_the_proxy(stack: RunningStack) -> None:
    with stack.client() as client:
        headers = stack.sign_up(client, "walter@example.org")
        accepted = client.post(f"{stack.public_url}/api/container/launch/hello", headers=headers).json()
        if accepted["job"]:
            assert follow(client, stack, accepted["status_url"], headers)["state"] == "succeeded"
        page = client.get(
            accepted["service_url"],
            headers={"Accept": "text/html", "Sec-Fetch-Mode": "navigate"},
            follow_redirects=True,
        )
        assert page.status_code == 200, page.text
        assert "walter" in page.text


def test_a_worker_killed_in_the_middle_of_a_launch_is_replaced_and_one_container_results(stack: RunningStack) -> None:
    with stack.client() as client:
        headers = stack.sign_up(client, "katja@example.org")
        accepted = client.post(f"{stack.public_url}/api/container/launch/jupyter", headers=headers).json()
        job = wait_for_step(client, stack, accepted["status_url"], headers, "claimed")
        for name in list(stack.workers):
            stack.kill_worker(name)
        for name in list(stack.workers):
            stack.start_worker(name)
        job = follow(client, stack, accepted["status_url"], headers)
        assert job["state"] == "succeeded", job
        names = [name for name in stack.containers() if "katja-jupyter" in name]
        assert len(names) == 1
        timeline = job["timeline"]
        assert isinstance(timeline, list)
        assert "worker_lost" in [entry["detail"] for entry in timeline]


def wait_for_step(
    client: httpx.Client, stack: RunningStack, path: str, headers: dict[str, str], step: str
) -> dict[str, object]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        job: dict[str, object] = client.get(f"{stack.public_url}{path}", headers=headers).json()
        if step in str(job["timeline"]):
            return job
        time.sleep(0.01)
    pytest.fail(f"the job never came to {step}: {job}")
