"""From a mail to a workspace's page, through the real proxy and on the real engine."""

import signal
import time
from functools import partial

import httpx
import pytest
import redis

from app.core.redis_names import redis_key
from deploy.stack.console import StepFailed, wait_until
from tests.support.stack import RunningStack, follow
from tests.support.waiting import PATIENCE
from workers.identity import place


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
        assert "worker_lost" in [entry["detail"] for entry in timeline_of(job)]


def wait_for_step(
    client: httpx.Client, stack: RunningStack, path: str, headers: dict[str, str], step: str
) -> dict[str, object]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        job: dict[str, object] = client.get(f"{stack.public_url}{path}", headers=headers).json()
        if step in str(job["timeline"]):
            return job
        time.sleep(0.01)
    pytest.fail(f"the job never came to {step}: {job}")


def test_a_worker_that_is_told_to_stop_hands_its_launch_to_another_at_once(stack: RunningStack) -> None:
    with stack.client() as client:
        headers = stack.sign_up(client, "ines@example.org")
        # A launch may be over before its worker hears the signal; then there was nothing to hand over.
        for _ in range(3):
            job = stop_the_worker_of_a_restart(client, stack, headers)
            assert job["state"] == "succeeded", job
            told = [entry["detail"] for entry in timeline_of(job)]
            assert "worker_lost" not in told
            if "worker_stopping" in told:
                break
    assert "worker_stopping" in told
    assert len([name for name in stack.containers() if name.endswith("-ines-jupyter")]) == 1


def stop_the_worker_of_a_restart(
    client: httpx.Client, stack: RunningStack, headers: dict[str, str]
) -> dict[str, object]:
    """Restart, and tell the worker that took it to stop; returns the job that has ended."""
    # The other one sleeps, so that it is certain who claims.
    stack.workers["worker-2"].send_signal(signal.SIGSTOP)
    try:
        accepted = client.post(f"{stack.public_url}/api/container/jupyter/restart", headers=headers).json()
        wait_for_step(client, stack, accepted["status_url"], headers, "claimed")
    finally:
        stack.workers["worker-2"].send_signal(signal.SIGCONT)
    stack.workers["worker-1"].terminate()
    job = follow(client, stack, accepted["status_url"], headers)
    stack.workers["worker-1"].wait(PATIENCE)
    stack.start_worker("worker-1")
    wait_until(partial(all_beat, stack), PATIENCE, lambda: StepFailed("a worker is not ready"))
    return job


def test_a_launch_accepted_while_redis_is_down_is_done_once_it_is_back(stack: RunningStack) -> None:
    workers = dict(stack.workers)
    wait_until(partial(all_beat, stack), PATIENCE, lambda: StepFailed("a worker is not ready"))
    with stack.client() as client:
        headers = stack.sign_up(client, "otto@example.org")
        stack.stop_redis()
        try:
            answer = client.post(f"{stack.public_url}/api/container/launch/jupyter", headers=headers)
            waiting = client.get(f"{stack.public_url}{answer.json()['status_url']}", headers=headers)
            wait_until(partial(all_miss_redis, stack), PATIENCE, lambda: StepFailed("a worker did not notice"))
        finally:
            stack.start_redis()
        assert answer.status_code == 202, answer.text
        assert waiting.json()["state"] == "queued"
        job = follow(client, stack, answer.json()["status_url"], headers)
    assert job["state"] == "succeeded", job
    assert stack.workers == workers
    wait_until(partial(all_beat, stack), PATIENCE, lambda: StepFailed("a worker died of the outage"))


def all_beat(stack: RunningStack) -> bool:
    """Whether each worker process is heard of in Redis."""
    wanted = {f"{place()}:{worker.pid}".encode() for worker in stack.workers.values()}
    with redis.Redis.from_url(stack.services.redis_url) as client:
        return wanted <= set(client.hkeys(redis_key(stack.instance, "workers")))


def all_miss_redis(stack: RunningStack) -> bool:
    logs = [stack.logs / f"{name}.log" for name in stack.workers]
    return all("heartbeat_lost" in log.read_text() for log in logs)


def timeline_of(job: dict[str, object]) -> list[dict[str, object]]:
    timeline = job["timeline"]
    assert isinstance(timeline, list)
    return timeline
