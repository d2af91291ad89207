"""`make test-engines`: the runtime's contract on engines that operators have from Debian, each with its packages in a
root of its own. Nothing of this machine changes: processes, mounts and networks are in namespaces, which end with this.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from xml.etree import ElementTree

from deploy.stack import debian
from deploy.stack.console import StepFailed, wait_until
from tests.engines.specimens import GROUPS, SPECIMENS, make_root

RUNTIME = Path(__file__).parent.parent / "runtime"
CONTRACT = [
    *sorted(map(str, RUNTIME.glob("test_contract*.py"))),
    f"{RUNTIME}/test_docker.py",
    f"{RUNTIME}/test_volumes.py",
]
NAMESPACES = ("--mount", "--propagation", "private", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child")
GONE_SECONDS = 60
CGROUPS = Path("/sys/fs/cgroup")


def groups() -> Iterator[Path]:
    """The folders of cgroups that engines have made, the innermost first."""
    for name in GROUPS:
        for top in (CGROUPS / name, *CGROUPS.glob(f"*/{name}")):
            yield from sorted((path for path in (top, *top.rglob("*")) if path.is_dir()), reverse=True)


@contextmanager
def place(name: str) -> Iterator[Path]:
    """A folder for an engine. It goes, and so do the cgroups that were not there before."""
    before = set(groups())
    # Not below /tmp: it may forbid devices, and be too small.
    directory = Path(tempfile.mkdtemp(prefix=f"spawner-{name}-", dir="/var/tmp"))
    try:
        directory.chmod(0o755)
        yield directory
    finally:

        def gone() -> bool:
            # Interrupted, the processes of the namespaces may be dying still.
            with suppress(OSError):
                for path in groups():
                    if path not in before:
                        path.rmdir()
                shutil.rmtree(directory)
                return True
            return False

        wait_until(gone, GONE_SECONDS, lambda: StepFailed(f"{directory} cannot be removed"))


def outcomes(report: Path) -> dict[str, str]:
    """What became of each test: `ok`, or why it failed, in a line."""
    found = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        bad = [item for item in case if item.tag in ("failure", "error", "skipped")]
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        found[name] = "; ".join((item.get("message") or item.tag).splitlines()[0] for item in bad) or "ok"
    return found


def run(name: str, tests: list[str]) -> dict[str, str]:
    """One engine from its packages to its results."""
    with place(name) as directory:
        print(f"{name}: unpacking", flush=True)
        root = make_root(SPECIMENS[name], directory)
        inside = [sys.executable, "-m", "tests.engines.inside", name, str(directory), *tests]
        command = ["unshare", *NAMESPACES, "--mount-proc", str(root / "usr/bin/catatonit"), "--", *inside]
        code = subprocess.run(command, check=False).returncode
        report = directory / "report.xml"
        if not report.is_file():
            log = directory / "engine.log"
            tail = log.read_text(errors="replace")[-2000:] if log.is_file() else ""
            raise StepFailed(f"{name} was not tested (exit code {code}): {tail}")
        return outcomes(report)


def show(results: dict[str, dict[str, str]]) -> None:
    """A line for each test: `ok` or FAILED on each engine; then why."""
    print("".join(f"{name:12}" for name in results), "test")
    for test in sorted({test for found in results.values() for test in found}):
        verdicts = (found.get(test, "-") for found in results.values())
        print("".join(f"{said if said in ('ok', '-') else 'FAILED':12}" for said in verdicts), test)
    for name, found in results.items():
        print(f"{name}: {sum(said == 'ok' for said in found.values())} of {len(found)} passed")
        print("".join(f"  {test}: {said}\n" for test, said in found.items() if said != "ok"), end="")


def main() -> int:
    """The process's exit code: 1 where a test failed or an engine could not be tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.engines", description=__doc__)
    parser.add_argument("--engine", action="append", choices=SPECIMENS, help="only this one; may be repeated")
    parser.add_argument("tests", nargs="*", default=CONTRACT, help="for pytest, instead of the contract; after --")
    given = parser.parse_args()
    if not debian.can_install():
        print("these tests need root on a machine of Debian's family", file=sys.stderr)
        return 1
    # Whoever ends this run leaves nothing behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    debian.install("debian-archive-keyring", "iproute2", "util-linux")
    results, broken = {}, False
    for name in given.engine or SPECIMENS:
        try:
            results[name] = run(name, given.tests)
        except StepFailed as failed:
            print(failed, file=sys.stderr)
            broken = True
    show(results)
    return int(broken or any(said != "ok" for found in results.values() for said in found.values()))


if __name__ == "__main__":
    sys.exit(main())
