"""`make mutants`: change sign-in, gateway, admission, states and leases in every small way; count what no test notices.

A mutant that the type checker refuses counts as noticed, since it could not be merged, and apart from the others.
Results are kept in `mutants/`: a run
that was interrupted goes on, and only functions that changed are tried again. With `--sample` the score is an
estimate, printed with its 95 % interval.
"""

import argparse
import fnmatch
import json
import math
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.conftest import ROOT, migrated_services

KEPT = ROOT / "mutants"
# By mutmut's exit codes; whatever is not here was not tried.
VERDICTS = {0: "survived", 1: "killed", 3: "killed", 33: "untested", 34: "skipped", 36: "killed", 37: "refused"}
# A mutant that runs for ever is stopped.
VERDICTS |= dict.fromkeys((-24, 24, 152, 255), "killed")
# mutmut's own limit of time is not used: it is sent to a process number that may be another program's by then. What
# burns the processor is ended by the kernel, what waits by pytest-timeout.
RUN = """
from mutmut.workers import isolation
isolation.register_timeout = lambda *_, **__: None
from mutmut.__main__ import cli
cli()
"""


def verdicts() -> dict[str, str | None]:
    """What became of each mutant by name; None if it was not tried."""
    found: dict[str, str | None] = {}
    for path in sorted(KEPT.glob("app/**/*.meta")):
        for name, code in json.loads(path.read_text())["exit_code_by_key"].items():
            found[name] = None if code is None else VERDICTS.get(code, "suspicious")
    return found


def interval(killed: int, tried: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z, share = 1.96, killed / tried
    middle = share + z * z / (2 * tried)
    spread = z * math.sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried))
    return (middle - spread) / (1 + z * z / tried), (middle + spread) / (1 + z * z / tried)


def mutate(names: list[str]) -> int:
    """Try mutants one at a time: they share the servers."""
    with migrated_services() as services:
        said = ("database_url", "database_owner_url", "redis_url", "smtp_url", "maildir")
        urls = {name: str(getattr(services, name)) for name in said}
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        environment = {**os.environ, "SPAWNER_TEST_SERVICES": json.dumps(urls), "PATH": path}
        command = [sys.executable, "-c", RUN, "run", "--max-children", "1", *names]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def report(chosen: list[str], total: int) -> float:
    """Print by name the mutants that nobody noticed, then the score; returns it."""
    found = verdicts()
    counts = Counter(found[name] or "not tried" for name in chosen)
    tried = sum(count for verdict, count in counts.items() if verdict not in ("not tried", "skipped"))
    for name in chosen:
        if found[name] in ("survived", "untested", "suspicious"):
            print(f"  {found[name]:10} {name}")
    print(", ".join(f"{verdict}: {count}" for verdict, count in sorted(counts.items())))
    if not tried:
        return 0
    noticed = counts["killed"] + counts["refused"]
    score, (low, high) = noticed / tried, interval(noticed, tried)
    of = f"all {total}" if tried == total else f"{tried} of {total}, so {low:.1%} to {high:.1%} with 95 % confidence"
    print(f"score: {score:.1%} of mutants noticed ({of}); `mutmut show NAME` shows one")
    if counts["refused"] < tried:
        print(f"of those that pass the type checker, tests notice {counts['killed'] / (tried - counts['refused']):.1%}")
    return score


def generate() -> None:
    """Write the mutants of what changed since the last time, without trying any: a sample is drawn from all of them."""
    (ROOT / "mutants").mkdir(exist_ok=True)
    steps = "copy_src_dir(); copy_also_copy_files(); setup_source_paths(); create_mutants(1)"
    subprocess.run(
        [sys.executable, "-c", f"from mutmut.__main__ import *\n{steps}"], cwd=ROOT, check=True, capture_output=True
    )


def main() -> int:
    """The process's exit code: 1 where the score is below what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, help="of all mutants, so many at random")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="*", help="names, as app.auth.magic_links.*")
    parser.add_argument("--again", action="store_true", help="try those again that no test noticed")
    parser.add_argument("--report", action="store_true", help="try nothing")
    parser.add_argument("--least", type=float, default=80, help="the score to reach, in percent")
    given = parser.parse_args()
    if not given.report:
        generate()
    names = sorted(fnmatch.filter(verdicts(), given.only))
    chosen = sorted(random.Random(given.seed).sample(names, min(given.sample or len(names), len(names))))
    redo = ("survived", "untested", "suspicious") if given.again else ()
    found = verdicts()
    waiting = [name for name in chosen if found[name] in (None, *redo)]
    if waiting and not given.report:
        mutate(waiting)
    score = report(chosen, len(names))
    return 0 if score * 100 >= given.least else 1


if __name__ == "__main__":
    raise SystemExit(main())
