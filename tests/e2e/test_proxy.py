"""What reaches a true container, and how, through the true proxy; and what people see once it is gone."""

import itertools
import os
import signal
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus

from deploy.stack.console import StepFailed, wait_until
from tests.support.stack import RunningStack, follow
from tests.support.visit import NAVIGATION, Visit
from tests.support.waiting import PATIENCE

MEGABYTE = 2**20


@pytest.fixture(scope="module")
def visit(stack: RunningStack) -> Iterator[Visit]:
    """Wanda, signed up and let in."""
    with stack.client() as http:
        headers = stack.sign_up(http, "wanda@example.org")
        accepted = http.post(f"{stack.public_url}/api/container/launch/hello", headers=headers).json()
        if accepted["job"]:
            assert follow(http, stack, accepted["status_url"], headers)["state"] == "succeeded"
        page = http.get(accepted["service_url"], headers=NAVIGATION, follow_redirects=True)
        assert page.status_code == 200, page.text
        yield Visit(stack, http, headers, accepted["service_url"])


def test_a_hundred_megabytes_are_streamed_into_the_container(visit: Visit) -> None:
    pieces = itertools.repeat(bytes(MEGABYTE), 100)
    answer = visit.http.post(f"{visit.url}upload", content=pieces, headers={"Origin": visit.origin})
    assert (answer.status_code, answer.text.strip()) == (200, str(100 * MEGABYTE))


def test_an_answer_arrives_while_the_container_still_writes_it(visit: Visit) -> None:
    with visit.http.stream("GET", f"{visit.url}stream") as answer:
        pieces = list(answer.iter_raw())
    assert b"".join(pieces).splitlines() == [b"line %d" % number for number in range(1, 11)]
    # The container writes a line each tenth of a second: whatever holds the answer back brings them at once.
    assert len(pieces) > 5


def test_the_container_learns_who_is_there_and_no_secret(visit: Visit) -> None:
    secrets = dict(pair.split("=", 1) for pair in visit.cookies().split("; "))
    assert any("spawner" in name for name in secrets)
    forged = {
        **visit.headers,
        "Cookie": f"mine=1; {visit.cookies()}; spawner_session=forged",
        "X-Upstream": "127.0.0.1:1",
        "X-Strip-Prefix": "/forged",
        "X-Spawner-User": "forged",
        "X-Spawner-Cookie": "forged=1",
        "X_Spawner_User": "forged",
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-User": "forged",
        "Forwarded": "for=6.6.6.6",
        "X-Own": "kept",
    }
    answer = visit.http.get(f"{visit.url}headers", headers=forged)
    assert answer.status_code == 200
    seen = [line.split(": ", 1) for line in answer.text.splitlines()[1:] if line]
    received = {name.lower(): value for name, value in seen}
    assert len(received) == len(seen)
    assert {name: value for name, value in received.items() if "spawner" in name} == {"x-spawner-user": "wanda"}
    assert received["cookie"] == "mine=1"
    assert received["x-own"] == "kept"
    assert not {"authorization", "x-upstream", "x-strip-prefix", "forwarded"} & received.keys()
    assert not [word for word in ("forged", "6.6.6.6", *secrets.values()) if word in answer.text]


def test_a_websocket_carries_text_and_a_megabyte(visit: Visit) -> None:
    binary = os.urandom(MEGABYTE)
    with visit.websocket(visit.origin) as websocket:
        websocket.send("Grüße")
        assert websocket.recv(timeout=PATIENCE) == "Grüße"
        websocket.send(binary)
        assert websocket.recv(timeout=PATIENCE) == binary


def test_a_websocket_of_another_origins_page_is_refused(visit: Visit) -> None:
    for origin in (visit.stack.public_url, "http://evil.example.org"):
        with pytest.raises(InvalidStatus) as refusal, visit.websocket(origin):
            pass
        assert refusal.value.response.status_code == 403


def test_the_gateway_cannot_be_asked_from_outside(visit: Visit) -> None:
    claimed = {"X-Forwarded-Uri": urlsplit(visit.url).path, "X-Forwarded-Host": urlsplit(visit.url).netloc}
    asked = visit.http.get(f"{visit.stack.public_url}/internal/gateway", headers=claimed)
    assert asked.status_code == 404
    # There `internal` could be a person's name; in host mode the path is the container's own.
    other = visit.http.get(f"{visit.origin}/internal/gateway", headers=claimed)
    assert other.status_code in (307, 404)
    assert not {"x-upstream", "x-spawner-user"} & {*asked.headers, *other.headers}


def test_a_container_that_died_is_named_until_workers_have_started_it_again(visit: Visit) -> None:
    stack = visit.stack
    (name,) = [name for name in stack.containers() if name.endswith("-wanda-hello")]
    for worker in stack.workers.values():
        worker.send_signal(signal.SIGSTOP)
    try:
        subprocess.run(["docker", "--host", stack.engine.url, "kill", name], check=True, capture_output=True)
        page = visit.http.get(visit.url, headers=NAVIGATION)
        assert page.status_code == 503
        assert "does not answer" in page.text
        answer = visit.http.get(visit.url)
        assert (answer.status_code, answer.json()["code"]) == (503, "workspace_unreachable")
    finally:
        for worker in stack.workers.values():
            worker.send_signal(signal.SIGCONT)

    def is_back() -> bool:
        return visit.http.get(visit.url, headers=NAVIGATION).status_code == 200

    wait_until(is_back, 30, lambda: StepFailed("the workspace is not started again", stack.logs / "worker-1.log"))
