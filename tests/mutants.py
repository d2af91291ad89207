"""`make mutants`: change the code of sign-in and gateway in every small way, and count what no test notices.

A mutant that the type checker refuses counts as noticed: it could not be merged. Results are kept in `mutants/`: a run
that was interrupted goes on, and only functions that changed are tried again. With `--sample` the score is an
estimate, printed with its 95 % interval.
"""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.conftest import ROOT, migrated_services

KEPT = ROOT / "mutants"
# By mutmut's exit codes; whatever is not here was not tried.
VERDICTS = {0: "survived", 1: "killed", 3: "killed", 33: "untested", 34: "skipped", 36: "killed", 37: "killed"}
# A mutant that runs for ever is stopped, by mutmut or by the kernel.
VERDICTS |= dict.fromkeys((-24, 24, 152, 255), "killed")
# Mutants of one process of mutmut: what is interrupted loses no more than its last file.
BATCH = 150


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
    return tuple((middle + sign * spread) / (1 + z * z / tried) for sign in (-1, 1))  # type: ignore[return-value]


def mutate(names: list[str]) -> int:
    """Try mutants one at a time: they share the servers."""
    with migrated_services() as services:
        urls = {name: str(getattr(services, name)) for name in ("database_url", "redis_url", "smtp_url", "maildir")}
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        environment = {**os.environ, "SPAWNER_TEST_SERVICES": json.dumps(urls), "PATH": path}
        command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", "1", *names]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def report(chosen: list[str], total: int) -> None:
    """Print the score of the mutants, and by name those that nobody noticed."""
    found = verdicts()
    counts = Counter(found[name] or "not tried" for name in chosen)
    tried = sum(count for verdict, count in counts.items() if verdict not in ("not tried", "skipped"))
    for name in sorted(name for name in chosen if found[name] in ("survived", "untested", "suspicious")):
        print(f"  {found[name]:10} {name}")
    print(", ".join(f"{verdict}: {count}" for verdict, count in sorted(counts.items())))
    if tried:
        low, high = interval(counts["killed"], tried)
        of = (
            f"all {total} mutants"
            if tried == total
            else f"{tried} of {total} mutants, 95 % between {low:.1%} and {high:.1%}"
        )
        print(f"score: {counts['killed'] / tried:.1%} ({of})")
