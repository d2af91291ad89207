"""The system calls that a workspace may make: the project's own list, whatever the engine's is."""

import json
from dataclasses import replace

import aiodocker
import pytest

from app.runtime.docker.objects import container_body
from app.runtime.docker.policy import MAX_TERMINALS, SECCOMP, Allowed, PolicyViolated, check
from app.runtime.docker.runtime import DockerRuntime
from app.runtime.spec import WorkspaceSpec
from tests.support.attacks import Attack
from tests.support.engine import DOCKER_URL, SPEC, Steps, Workspaces, fetch
from tests.support.waiting import PATIENCE

UNIX, IPV4, IPV6, NETLINK = "1", "2", "10", "16"
SIGSYS = -31
# What programs do that people run in workspaces: threads, processes, debuggers, editors that watch files, servers.
ORDINARY = """
import asyncio, ctypes, fcntl, multiprocessing, os, resource, select, signal, socket, sqlite3, subprocess, sys, tempfile
import threading, concurrent.futures as futures
libc = ctypes.CDLL(None, use_errno=True)
def sure(name, *arguments):
    assert getattr(libc, name)(*arguments) != -1, (name, os.strerror(ctypes.get_errno()))
threading.Thread(target=print).start()
with futures.ProcessPoolExecutor(2) as pool:
    assert list(pool.map(abs, [-1])) == [1]
    with multiprocessing.Manager() as manager:
        assert manager.list([1])[0] == 1
assert asyncio.run(asyncio.create_subprocess_exec("true"))
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
sure("ptrace", 16, child.pid, None, None)
os.waitpid(child.pid, 0)
sure("ptrace", 17, child.pid, None, None)
child.communicate(b"x")
sure("personality", 0x40000)
master, slave = os.openpty()
assert os.ttyname(slave).startswith("/dev/pts/") and os.get_terminal_size(slave)
os.close(master)
assert socket.getaddrinfo("localhost", 80) and socket.if_nameindex()
left, right = socket.socketpair()
socket.send_fds(left, [b"x"], [0])
assert socket.recv_fds(right, 1, 1)[1]
sqlite3.connect(":memory:").execute("select 1")
with tempfile.TemporaryFile() as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    os.posix_fallocate(file.fileno(), 0, 4096)
    os.sendfile(file.fileno(), os.open("/etc/passwd", os.O_RDONLY), 0, 10)
    os.fsync(file.fileno())
os.memfd_create("x")
sure("inotify_init1", 0)
sure("timerfd_create", 1, 0)
sure("eventfd", 0, 0)
select.epoll()
signal.setitimer(signal.ITIMER_REAL, 100)
os.sched_setaffinity(0, os.sched_getaffinity(0))
os.setpriority(os.PRIO_PROCESS, 0, 5)
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
assert hard == 8192
# runc of Go 1.19 may leave a process that joins later the hard limit as its soft one: the container's own counts.
[files] = [line.split() for line in open("/proc/1/limits") if line.startswith("Max open files")]
assert files[3:5] == ["1024", "8192"], files
print("all")
"""


def test_the_list_names_what_it_allows_and_refuses_the_rest() -> None:
    profile = json.loads(SECCOMP)
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert all(not item["subArchitectures"] for item in profile["archMap"])
    allowed = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    beyond = {"bpf", "mount", "unshare", "setns", "keyctl", "add_key", "request_key", "io_uring_setup", "io_setup"}
    beyond |= {"userfaultfd", "perf_event_open", "open_by_handle_at", "fanotify_init", "kexec_load", "socketcall"}
    assert not allowed & (beyond | {"clone3", "fsopen", "move_mount", "swapon", "reboot", "init_module", "mq_open"})


def test_an_engine_that_reads_files_is_given_a_path() -> None:
    assert container_body(SPEC, Allowed(), publish=False)["HostConfig"]["SecurityOpt"] == [
        "no-new-privileges:true",
        f"seccomp={SECCOMP}",
    ]
    there = Allowed(seccomp_file="/etc/spawner/seccomp.json")
    body = container_body(SPEC, there, publish=False)
    assert body["HostConfig"]["SecurityOpt"] == [
        "no-new-privileges:true",
        "seccomp=/etc/spawner/seccomp.json",
    ]
    # It drops the options of volumes: without them this would be an empty folder, and no terminal.
    assert "Mounts" not in body["HostConfig"]
    check(body, there)
    with pytest.raises(PolicyViolated, match="terminals"):
        check(body | {"HostConfig": body["HostConfig"] | {"SecurityOpt": Allowed().security}}, Allowed())


def test_a_template_with_another_oci_runtime_is_made_under_it() -> None:
    body = container_body(replace(SPEC, runtime="runsc"), Allowed(), publish=False)
    assert body["HostConfig"]["Runtime"] == "runsc"
    assert "Mounts" not in body["HostConfig"]
    assert "Runtime" not in container_body(SPEC, Allowed(), publish=False)["HostConfig"]


@pytest.mark.parametrize(
    ("user", "warm"), [("0", False), (None, False), ("0", True)], ids=["root", "the image's user", "in a warm seat"]
)
async def test_no_socket_of_a_family_that_egress_rules_do_not_hold_opens(
    user: str | None, warm: bool, attack: Attack
) -> None:
    spec, _ = await attack.spec(user=user)
    endpoint = await attack.run(spec, {}, warm=warm)
    opened = json.loads(await fetch(endpoint, "/families", seconds=PATIENCE))
    assert opened.keys() <= {UNIX, IPV4, IPV6, NETLINK}
    assert opened.keys() >= {UNIX, IPV4}
    assert set(opened[NETLINK]) == {0}


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "in a warm seat"])
async def test_calls_that_pass_the_list_by_or_take_what_all_share_are_refused(warm: bool, attack: Attack) -> None:
    spec, _ = await attack.spec(user="0")
    endpoint = await attack.run(spec, {}, warm=warm)
    said = json.loads(await fetch(endpoint, "/calls"))
    assert said == {
        **dict.fromkeys(("io_uring_setup", "io_setup", "clone3", "mq_open"), "ENOSYS"),
        **dict.fromkeys(("keyctl", "add_key", "userfaultfd", "fanotify_init", "pidfd_getfd"), "EPERM"),
    }
    # The other set of system calls of this machine, where it has one.
    assert json.loads(await fetch(endpoint, "/abi", seconds=PATIENCE)) == {"ended": SIGSYS}


async def test_what_people_run_in_workspaces_runs(
    guarded: DockerRuntime, engine: aiodocker.Docker, attack: Attack
) -> None:
    spec, _ = await attack.spec()
    await attack.run(spec, {})
    container = engine.containers.container(spec.name)
    run = await container.exec(["python3", "-c", ORDINARY], tty=True)
    async with run.start(detach=False) as stream:
        said = b""
        while (message := await stream.read_out()) is not None:
            said += message.data
    assert said.decode().split()[-1:] == ["all"], said.decode()


async def test_a_workspace_has_so_many_terminals_and_they_go_with_it(
    guarded: DockerRuntime, engine: aiodocker.Docker, attack: Attack
) -> None:
    spec, _ = await attack.spec()
    endpoint = await attack.run(spec, {})
    before = {item["Name"] for item in (await engine.volumes.list())["Volumes"] or []}
    mounts = (await engine.containers.container(spec.name).show())["Mounts"]
    [name] = [item["Name"] for item in mounts if item["Destination"] == "/dev/pts"]
    assert name in before
    said = json.loads(await fetch(endpoint, "/seize/terminals", seconds=PATIENCE))
    assert said == {"held": MAX_TERMINALS, "refusals": ["ENOSPC"]}
    await guarded.ensure_stopped(spec.name, spec.workspace_id)
    again = await attack.run(spec, {})
    assert json.loads(await fetch(again, "/take/terminals")) == {"said": "ok"}
    await guarded.ensure_absent(spec.name, spec.workspace_id)
    assert name not in {item["Name"] for item in (await engine.volumes.list())["Volumes"] or []}


async def test_a_stopped_container_of_another_confinement_is_made_anew(
    workspace: Workspaces, steps: Steps, engine: aiodocker.Docker
) -> None:
    """One that runs goes on: only its owner ends it."""
    runtime = DockerRuntime(DOCKER_URL, publish="never", starts=1)
    spec = workspace()
    body = container_body(spec, Allowed(), publish=False)
    body["HostConfig"] |= {"SecurityOpt": [], "Ulimits": [], "Mounts": []}
    del body["Labels"]["spawner.confinement"]
    await runtime.ensure_network(spec.instance, spec.network)
    old = await engine.containers.create(body, name=spec.name)
    await old.start()
    assert (await runtime.ensure_running(spec, steps)).container_id == old.id
    await runtime.ensure_stopped(spec.name, spec.workspace_id)
    made = await runtime.ensure_running(spec, steps)
    assert made.container_id != old.id
    assert (await runtime.ensure_running(spec, steps)) == made
    shown = (await engine.containers.container(spec.name).show())["HostConfig"]
    assert _seccomp(spec) in shown["SecurityOpt"]
    await runtime.aclose()


def _seccomp(spec: WorkspaceSpec) -> str:
    options: list[str] = container_body(spec, Allowed(), publish=False)["HostConfig"]["SecurityOpt"]
    return options[1]
