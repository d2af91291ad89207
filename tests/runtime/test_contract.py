"""What every runtime promises (app.runtime.base.Runtime), on its real engine: containers that run."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

import pytest

from app.runtime.base import (
    ContainerExited,
    ImageMissing,
    RunState,
    Runtime,
    RuntimeFault,
    Superseded,
)
from tests.support.engine import Steps, Workspaces, eventually, fetch, settled
from tests.support.waiting import PATIENCE


async def test_a_workspace_runs_and_answers(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace(script="echo hi > /srv/index.html; exec busybox httpd -f -p 8080 -h /srv")
    endpoint = await runtime.ensure_running(spec, steps)
    assert await fetch(endpoint, "/") == "hi\n"
    assert steps.phases == ["creating", "starting"]
    assert endpoint.image_digest.startswith("sha256:")
    status = await runtime.status(spec.name)
    assert (status.state, status.revision, status.endpoint) == (RunState.RUNNING, 1, endpoint)


async def test_ensure_running_twice_keeps_the_container(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace()
    first = await runtime.ensure_running(spec, steps)
    steps.seen.clear()
    assert await runtime.ensure_running(spec, steps) == first
    assert steps.seen == []


async def test_eight_at_once_make_one_container(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace()
    endpoints = await asyncio.gather(*(runtime.ensure_running(spec, steps) for _ in range(8)))
    assert len(set(endpoints)) == 1
    assert [item.name for item in (await runtime.list_owned(spec.instance)).containers] == [spec.name]


async def test_launches_and_removals_at_once_end_in_what_is_asked_last(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    for _ in range(3):
        calls = runtime.ensure_running(spec, steps), runtime.ensure_absent(spec.name, spec.workspace_id)
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert not isinstance(outcome, BaseException) or isinstance(outcome, RuntimeFault)
    endpoint = await runtime.ensure_running(spec, steps)
    assert (await runtime.status(spec.name)).endpoint == endpoint


async def test_a_larger_incarnation_replaces_the_container(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    first = await runtime.ensure_running(spec, steps)
    second = await runtime.ensure_running(replace(spec, revision=2, memory_bytes=48 << 20), steps)
    assert first.container_id != second.container_id
    owned = (await runtime.list_owned(spec.instance)).containers
    assert [(item.name, item.status.revision) for item in owned] == [(spec.name, 2)]


async def test_a_smaller_incarnation_is_superseded(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace(revision=3)
    endpoint = await runtime.ensure_running(spec, steps)
    with pytest.raises(Superseded):
        await runtime.ensure_running(replace(spec, revision=2), steps)
    assert (await runtime.status(spec.name)).endpoint == endpoint


async def test_what_a_deleted_workspace_left_is_replaced(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    left = workspace(revision=7)
    await runtime.ensure_running(left, steps)
    spec = replace(left, workspace_id=uuid4(), revision=1)
    await runtime.ensure_running(spec, steps)
    owned = (await runtime.list_owned(spec.instance)).containers
    assert [(item.workspace_id, item.status.revision) for item in owned] == [(spec.workspace_id, 1)]


async def test_a_stopped_workspace_starts_again(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace()
    first = await runtime.ensure_running(spec, steps)
    await runtime.ensure_stopped(spec.name, spec.workspace_id)
    stopped = await runtime.status(spec.name)
    assert (stopped.state, stopped.endpoint) == (RunState.EXITED, None)
    await runtime.ensure_stopped(spec.name, spec.workspace_id)
    again = await runtime.ensure_running(spec, steps)
    assert again.container_id == first.container_id


async def test_a_crashed_workspace_starts_again(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace(
        script="[ -e /srv/again ] && exec busybox httpd -f -p 8080 -h /; echo > /srv/again; busybox sleep 0.3; exit 3"
    )
    await runtime.ensure_running(spec, steps)
    await settled(runtime, spec, RunState.EXITED)
    assert (await runtime.status(spec.name)).exit_code == 3
    await runtime.ensure_running(spec, steps)
    assert (await runtime.status(spec.name)).state is RunState.RUNNING


async def test_a_container_that_ends_at_once_is_an_error_with_its_log(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace(script="echo no such luck; exit 9")
    # It may still be seen running for a moment: then the caller's probe finds out.

    async def seen() -> bool:
        try:
            await runtime.ensure_running(spec, steps)
        except ContainerExited as fault:
            return "exit code 9" in str(fault)
        return False

    await eventually(seen)
    assert {line async for line in runtime.logs(spec.name)} == {"no such luck"}
    assert (await runtime.status(spec.name)).exit_code == 9


async def test_a_workspace_that_needs_too_much_memory_says_so(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace(script="busybox sleep 0.5; exec busybox tail /dev/zero", memory_bytes=16 << 20)
    await runtime.ensure_running(spec, steps)
    await settled(runtime, spec, RunState.EXITED)
    status = await runtime.status(spec.name)
    assert (status.out_of_memory, status.exit_code) == (True, 137)


async def test_a_volume_outlives_its_container_until_it_is_removed_too(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    script = "echo x >> /data/starts; exec busybox httpd -f -p 8080 -h /data"
    volume = workspace.volume()
    spec = workspace(script=script, user="1000", volume=volume)
    for starts, step in enumerate((None, "stop", "replace", "remove"), start=1):
        if step == "stop":
            await runtime.ensure_stopped(spec.name, spec.workspace_id)
        elif step == "replace":
            spec = replace(spec, revision=2)
        elif step == "remove":
            await runtime.ensure_absent(spec.name, spec.workspace_id)
        endpoint = await runtime.ensure_running(spec, steps)
        assert await fetch(endpoint, "/starts") == "x\n" * starts
    await runtime.ensure_absent(spec.name, spec.workspace_id)
    await runtime.remove_volume(volume.name)
    endpoint = await runtime.ensure_running(spec, steps)
    assert await fetch(endpoint, "/starts") == "x\n"


async def test_a_fresh_volume_belongs_to_the_user_of_the_image(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    script = "echo mine > /data/file; exec busybox httpd -f -p 8080 -h /data"
    volume = workspace.volume()
    endpoint = await runtime.ensure_running(workspace(script=script, user="1000", volume=volume), steps)
    assert await fetch(endpoint, "/file") == "mine\n"


async def test_the_container_knows_only_what_it_is_told(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    script = "busybox env > /srv/environment; exec busybox httpd -f -p 8080 -h /srv"
    spec = workspace(script=script, environment={"SPAWNER_TEMPLATE": "hello", "EMPTY": ""})
    endpoint = await runtime.ensure_running(spec, steps)
    names = {line.partition("=")[0] for line in (await fetch(endpoint, "/environment")).splitlines() if "=" in line}
    engines_own = {"container"} if (await runtime.report()).product == "Podman" else set()
    assert names - engines_own == {"SCRIPT", "SPAWNER_TEMPLATE", "EMPTY", "PATH", "HOSTNAME", "HOME", "SHLVL", "PWD"}


async def test_a_missing_image_is_an_error_at_once_and_leaves_no_container(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace(image="spawner-test/nowhere:1")
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ImageMissing):
            await runtime.ensure_running(spec, steps)
    assert steps.phases == ["creating"]
    assert (await runtime.list_owned(spec.instance)).containers == []


async def test_a_pull_that_no_registry_answers_is_a_missing_image(runtime: Runtime, steps: Steps) -> None:
    with pytest.raises(ImageMissing):
        await runtime.pull("spawner-test/nowhere:1", steps)
    assert steps.phases == ["pulling"]


async def test_an_images_name_stands_for_what_runs_under_it(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    endpoint = await runtime.ensure_running(spec, steps)
    assert await runtime.image_digest(spec.image) == endpoint.image_digest
    assert await runtime.image_digest("spawner-test/nowhere:1") is None


async def test_a_launch_that_is_cancelled_at_any_moment_is_finished_by_the_next(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    for milliseconds in (0, 2, 5, 10, 20, 40, 80, 160):
        spec = workspace()
        await runtime.ensure_network(spec.instance, spec.network)
        with suppress(TimeoutError):
            async with asyncio.timeout(milliseconds / 1000):
                await runtime.ensure_running(spec, steps)
        before = await runtime.status(spec.name)
        endpoint = await runtime.ensure_running(spec, steps)
        assert before.container_id in (None, endpoint.container_id)
        assert (await runtime.status(spec.name)).state is RunState.RUNNING
        await runtime.ensure_absent(spec.name, spec.workspace_id)


async def test_a_command_and_its_arguments_stand_in_for_the_images_own(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    script = 'busybox printf "%s|" "$@" > /srv/index.html; exec busybox httpd -f -p 8080 -h /srv'
    words = ("busybox", "sh", "-c", script)
    spec = workspace(script="exit 1", command=words, args=("name", "a b", "$HOME", ""))
    assert await fetch(await runtime.ensure_running(spec, steps), "/") == "a b|$HOME||"
    # The image has no entrypoint: arguments alone are what runs.
    spec = workspace(script="exit 1", args=("busybox", "httpd", "-f", "-p", "8080", "-h", "/"))
    await runtime.ensure_running(spec, steps)
