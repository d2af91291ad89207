"""Images named by digest: pulled from a registry of this machine, run, and told from newer ones."""

import asyncio
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiodocker
import pytest

from app.runtime.base import RunState, Runtime, RuntimeFault
from tests.support.engine import DOCKER_URL, Steps, Workspaces
from tests.support.waiting import PATIENCE

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry:
    """Keeps blobs and manifests by their digests, and answers the requests of a pull; blobs while it is `open`."""

    def __init__(self) -> None:
        self.port = 0
        self.kept: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    def push(self, root: bytes) -> str:
        """Keep an image of one layer, a tar; gives its name by digest."""
        layer = gzip.compress(root, mtime=0)
        command = ["/bin/busybox", "sh", "-c", 'eval "$SCRIPT"']
        image = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": command, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(root)]},
        }
        config = json.dumps(image).encode()
        self.kept |= {digest_of(layer): layer, digest_of(config): config}
        kind = "application/vnd.docker.container.image.v1+json"
        tar = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": kind, "size": len(config), "digest": digest_of(config)},
            "layers": [{"mediaType": tar, "size": len(layer), "digest": digest_of(layer)}],
        }
        content = json.dumps(manifest).encode()
        self.kept[digest_of(content)] = content
        return f"127.0.0.1:{self.port}/spawner-test/app@{digest_of(content)}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1)
        if first not in (b"G", b"H"):  # an engine tries TLS first, where nobody answers HTTP in clear text
            writer.close()
            return
        method, path, _ = (first + await reader.readuntil(b"\r\n\r\n")).decode().split(" ", 2)
        self.asked.append(path.rpartition("/")[2])
        if "/blobs/" in path:
            await self.open.wait()
        content = b"{}" if path == "/v2/" else self.kept.get(path.rpartition("/")[2])
        kind = MANIFEST if "/manifests/" in path else "application/octet-stream"
        status, body = ("404 Not Found", b"{}") if content is None else ("200 OK", content)
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        writer.write(f"{head}Docker-Content-Digest: {path.rpartition('/')[2]}\r\n\r\n".encode())
        if method != "HEAD":
            writer.write(body)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(registry: Registry) -> AsyncIterator[None]:
    async with await asyncio.start_server(registry.answer, "127.0.0.1", 0) as server:
        registry.port = server.sockets[0].getsockname()[1]
        yield


def docker(*arguments: str) -> bytes:
    return subprocess.run(["docker", "--host", DOCKER_URL, *arguments], check=True, capture_output=True).stdout


def root_of(image: str, instance: str, note: str) -> bytes:
    """The files of an image of this engine, and a note that makes them others."""
    name = f"{instance}-{note}"
    docker("create", "--name", name, image)
    try:
        files = docker("export", name)
    finally:
        docker("rm", "-v", name)
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(files)) as old, tarfile.open(fileobj=out, mode="w") as new:
        program = old.extractfile("bin/busybox")
        assert program is not None
        for item, content in ((old.getmember("bin/busybox"), program.read()), (tarfile.TarInfo("note"), note.encode())):
            item.size = len(content)
            new.addfile(item, io.BytesIO(content))
    return out.getvalue()


async def test_an_image_by_digest_is_pulled_run_and_told_from_a_newer_one(
    runtime: Runtime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps, image: str
) -> None:
    registry = Registry()
    names: list[str] = []
    async with serving(registry):
        try:
            names += [registry.push(root_of(image, workspace.instance, note)) for note in ("one", "two")]
            for name in names:
                assert await runtime.image_digest(name) is None
                await runtime.pull(name, steps)
            old, new = [await runtime.image_digest(name) for name in names]
            spec = workspace(image=names[0], script="exec busybox sleep 60")
            endpoint = await runtime.ensure_running(spec, steps)
            assert (await runtime.status(spec.name)).state is RunState.RUNNING
            assert endpoint.image_digest == old != new
            await runtime.ensure_absent(spec.name, spec.workspace_id)
        finally:
            for name in names:
                with suppress(aiodocker.DockerError):
                    await engine.images.delete(name, force=True)


async def test_content_that_does_not_fit_its_digest_is_not_taken(runtime: Runtime, steps: Steps) -> None:
    registry = Registry()
    async with serving(registry):
        name = registry.push(b"")
        digest = name.rpartition("@")[2]
        registry.kept[digest] = registry.kept[digest].replace(b"layers", b"leyers")
        with pytest.raises(RuntimeFault):
            await runtime.pull(name, steps)
        assert await runtime.image_digest(name) is None


async def test_pulls_of_one_image_at_once_fetch_each_layer_once_and_all_succeed(
    runtime: Runtime, engine: aiodocker.Docker, workspace: Workspaces, image: str
) -> None:
    registry, watchers = Registry(), [Steps() for _ in range(4)]
    async with serving(registry):
        name = registry.push(root_of(image, workspace.instance, "at-once"))
        layer = next(iter(registry.kept))
        registry.open.clear()
        pulls = [asyncio.create_task(runtime.pull(name, steps)) for steps in watchers]
        try:
            async with asyncio.timeout(PATIENCE):
                while layer not in registry.asked:
                    await asyncio.sleep(0.02)
            registry.open.set()
            await asyncio.gather(*pulls)
            assert registry.asked.count(layer) == 1
            assert [set(steps.phases) for steps in watchers] == [{"pulling"}] * len(pulls)
        finally:
            registry.open.set()
            await asyncio.gather(*pulls, return_exceptions=True)
            with suppress(aiodocker.DockerError):
                await engine.images.delete(name, force=True)
