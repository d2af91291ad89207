"""Pulls, from registries that are well, slow, broken or empty."""

import asyncio
import json
import time
from typing import Any

import aiodocker
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runtime.base import ImageMissing, ImagePullFailed, RuntimeFault
from app.runtime.docker.pull import Layers, pull
from app.runtime.docker.runtime import DockerRuntime
from tests.support.engine import SPEC, VERSION, Answer, Peer, Steps, reply


def pulling(*lines: dict[str, Any], pause: float = 0, then: float = 0, whole: bool = True) -> Answer:
    """Play an engine without the image, whose pull says `lines` and then waits or breaks."""

    async def answer(method: str, path: str, writer: asyncio.StreamWriter) -> None:
        if path.endswith("/version"):
            writer.write(reply(200, VERSION))
        elif "/images/create" in path:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            for line in lines:
                data = json.dumps(line).encode() + b"\r\n"
                writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                await writer.drain()
                await asyncio.sleep(pause)
            await asyncio.sleep(then)
            writer.write(b"0\r\n\r\n" if whole else b"ff\r\n{")
        else:
            writer.write(reply(404, {"message": "No such image: example/app:1"}))
        await writer.drain()

    return answer


def layer(name: str, done: int, total: int) -> dict[str, Any]:
    return {"id": name, "status": "Downloading", "progressDetail": {"current": done, "total": total}}


BEGIN = {"id": "1", "status": "Pulling from example/app"}


async def test_a_pull_reports_bytes_over_all_layers(peer: Peer, steps: Steps) -> None:
    lines = [layer(name, done, 100) for done in range(0, 100, 5) for name in ("a", "b")]
    script = pulling(BEGIN, *lines, {"id": "a", "status": "Pull complete"}, pause=0.02)
    docker = aiodocker.Docker(await peer(script))
    began = time.monotonic()
    await pull(docker, SPEC.image, steps)
    seconds = time.monotonic() - began
    await docker.close()
    done = [step.done_bytes or 0 for step in steps.seen]
    assert done == sorted(done)
    assert (steps.seen[-1].done_bytes, steps.seen[-1].total_bytes) == (195, 200)
    assert 3 <= len(steps.seen) <= seconds / 0.25 + 2


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (pulling({"error": "denied: requested access to the resource is denied"}), ImageMissing),
        (pulling(BEGIN, {"error": "manifest for example/app:1 not found"}), ImageMissing),
        (pulling({"error": "toomanyrequests: slow down"}), ImagePullFailed),
        (pulling(BEGIN, layer("a", 1, 9), {"error": "unexpected EOF"}), ImagePullFailed),
        (pulling(BEGIN, layer("a", 1, 9), whole=False), ImagePullFailed),
        (pulling(BEGIN, layer("a", 1, 9)), ImagePullFailed),
    ],
)
async def test_a_pull_that_does_not_bring_the_image_is_an_error(
    peer: Peer, steps: Steps, script: Answer, fault: type[RuntimeFault]
) -> None:
    runtime = DockerRuntime(await peer(script), publish="never", starts=16)
    with pytest.raises(fault):
        await runtime.pull(SPEC.image, steps)
    await runtime.aclose()


async def test_a_pull_that_stalls_is_an_error(peer: Peer, steps: Steps) -> None:
    docker = aiodocker.Docker(await peer(pulling(BEGIN, layer("a", 1, 9), then=30)))
    with pytest.raises(ImagePullFailed, match="nothing came"):
        await pull(docker, SPEC.image, steps, stall_seconds=0.2)
    await docker.close()


async def test_a_registry_that_never_answers_is_a_missing_image(peer: Peer, steps: Steps) -> None:
    docker = aiodocker.Docker(await peer(pulling(then=30)))
    with pytest.raises(ImageMissing, match="no registry answered"):
        await pull(docker, SPEC.image, steps, first_answer_seconds=0.2)
    await docker.close()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.integers(50, 60), st.booleans())))
def test_pulled_bytes_never_shrink_and_never_pass_the_total(moves: list[tuple[str, int, int, bool]]) -> None:
    layers, last = Layers(), 0
    for name, done, total, complete in moves:
        layers.add({"id": name, "status": "Pull complete"} if complete else layer(name, done, total))
        progress = layers.progress
        assert progress.done_bytes is not None
        assert progress.total_bytes is not None
        assert last <= progress.done_bytes <= progress.total_bytes
        last = progress.done_bytes
