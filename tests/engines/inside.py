"""One engine and the tests against it, in namespaces that `tests.engines` has made: all that is started here, mounted
here or set for the network goes with them.
"""

import os
import subprocess
import sys
from pathlib import Path

from deploy.stack.console import StepFailed, wait_until
from deploy.stack.engine import Engine
from tests.engines.specimens import SOCKET, SPECIMENS

READY_SECONDS = 120
# Switches of the kernel that no namespace has of its own: engines raise some.
SHARED = ("fs", "kernel", "vm")
# $1 is the root, the rest the engine's command.
ENTER = f"""
set -e
root=$1; shift
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
for name in {" ".join(SHARED)}; do
    mount --bind "proc/sys/$name" "proc/sys/$name"
    mount -o remount,bind,ro "proc/sys/$name"
done
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mkdir -p run/netns
pivot_root . old
exec usr/bin/busybox sh -c 'umount -l /old; cd /; exec "$@"' sh "$@"
"""


def main(name: str, directory: Path, tests: list[str]) -> int:
    """Run the tests; returns pytest's exit code. Raises `StepFailed` where the engine does not answer."""
    specimen, root = SPECIMENS[name], directory / "root"
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    environment = {"PATH": "/usr/sbin:/usr/bin", "HOME": "/root", "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
    entering = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh", str(root)]
    url = f"unix://{root / SOCKET}"
    with (directory / "engine.log").open("wb") as log:
        served = subprocess.Popen([*entering, *specimen.command], env=os.environ | environment, stdout=log, stderr=log)
    try:
        engine = Engine(url)

        def answers() -> bool:
            if served.poll() is not None:
                raise StepFailed(f"{name} ended with {served.returncode}", directory / "engine.log")
            return engine.answers()

        wait_until(answers, READY_SECONDS, lambda: StepFailed(f"{name} does not answer", directory / "engine.log"))
        own = {"SPAWNER_DOCKER_URL": url, "PATH": f"{directory / 'tools'}:{os.environ['PATH']}"}
        report = ["-p", "no:cacheprovider", f"--junitxml={directory / 'report.xml'}"]
        return subprocess.run(
            [sys.executable, "-m", "pytest", *report, *tests],
            env=os.environ | own | dict(specimen.environment),
            check=False,
        ).returncode
    finally:
        # It takes its networks and mounts away itself; what it leaves goes with the namespaces.
        served.terminate()
        try:
            served.wait(30)
        except subprocess.TimeoutExpired:
            served.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
