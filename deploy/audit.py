"""`make audit`: ask whether anything in requirements-dev.lock has a known vulnerability.

Not to have been able to ask, of a single one even, fails like a vulnerability. `if-reachable` lets that alone pass,
and says so: for a place that reaches no service that knows.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements-dev.lock"
SECONDS = 120


def names(lock: str) -> set[str]:
    """The packages that a lock holds for this Python and platform, as indexes write them."""
    pinned = re.findall(r"^([\w.-]+)==\S+(?: ; ([^\\\n]+))?", lock, re.MULTILINE)
    return {canonicalize_name(name) for name, marker in pinned if not marker or Marker(marker).evaluate()}


def judge(report: dict[str, Any] | None, locked: set[str]) -> tuple[list[str], list[str]]:
    """What is vulnerable, and what nobody could say, from pip-audit's report; None is no report at all."""
    found = {one["name"]: one for one in (report or {}).get("dependencies", ())}
    vulnerable = [
        f"{name} {one['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version'}"
        for name, one in found.items()
        for flaw in one.get("vulns", ())
    ]
    unknown = sorted(name for name in locked if "vulns" not in found.get(name, {}))
    return vulnerable, unknown


def ask() -> dict[str, Any] | None:
    """pip-audit's report on the lock."""
    command = [str(Path(sys.executable).with_name("pip-audit")), "-r", str(LOCK), "--require-hashes", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--desc", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        report: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    return report


def main() -> int:
    """The process's exit code."""
    locked = names(LOCK.read_text())
    vulnerable, unknown = judge(ask(), locked)
    for line in vulnerable:
        print(f"  ✗ {line}")
    if unknown:
        print(f"  ✗ {len(unknown)} of {len(locked)} locked packages could not be checked: {', '.join(unknown[:5])} …")
    if vulnerable or (unknown and sys.argv[1:] != ["if-reachable"]):
        return 1
    print("  … NOT CHECKED for vulnerabilities" if unknown else f"  ✓ no known vulnerability in {len(locked)} packages")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
