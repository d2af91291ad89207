import os
import subprocess
import sys
from contextlib import ExitStack

from tests.conftest import ROOT
from workers.identity import place, worker_name

# What a container on the host's network is here: processes of its own, under the host's name.
CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")
# Says its name, and lives until it is told to end.
WORKER = (
    sys.executable,
    "-c",
    "import sys; from workers.identity import worker_name; print(worker_name(), flush=True); sys.stdin.read()",
)


def names_of(*commands: tuple[str, ...]) -> list[str]:
    """Run the commands at the same time, and return what each one calls itself."""
    with ExitStack() as stack:
        pipe = subprocess.PIPE
        running = [
            stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True))
            for command in commands
        ]
        names = [process.stdout.readline().strip() for process in running if process.stdout]
        for process in running:
            process.communicate("")
        return names


def test_workers_in_containers_on_the_hosts_network_have_names_of_their_own() -> None:
    names = names_of(*[CONTAINER + WORKER] * 3)
    assert [name.rpartition(":")[2] for name in names] == ["1", "1", "1"]
    assert len({*names, worker_name()}) == 4


def test_workers_of_one_host_without_containers_share_their_place() -> None:
    assert worker_name() == f"{place()}:{os.getpid()}"
    (name,) = names_of(WORKER)
    assert name.rpartition(":")[0] == place()
