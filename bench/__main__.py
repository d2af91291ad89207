"""`make bench`: print the table, and keep it in docs/performance.md."""

import asyncio
import os
import platform
import secrets
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bench.measure import Row, measure
from tests.support.stack import running_stack

ROOT = Path(__file__).parent.parent
MARK = "<!-- bench -->"


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | target | measured | |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.target} | {row.measured} | {row.verdict} |" for row in rows]
    return "\n".join(lines)


def machine() -> str:
    """What it was measured on."""
    memory = psutil.virtual_memory().total / (1 << 30)
    versions = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{datetime.now(UTC).date()}, {os.cpu_count()} cores, {memory:.0f} GiB, {versions}"


def main() -> None:
    """Run a private installation on the machine's engine, measure, and write what came out."""
    instance = f"b{secrets.token_hex(4)}"
    with (
        tempfile.TemporaryDirectory(prefix="spawner-bench-") as logs,
        running_stack("path", instance, Path(logs), lease_seconds=15) as stack,
    ):
        rows = asyncio.run(measure(stack))
    text = table(rows)
    print(text)
    page = ROOT / "docs" / "performance.md"
    before, _, rest = page.read_text().partition(MARK)
    _, _, after = rest.partition(MARK)
    page.write_text(f"{before}{MARK}\nMeasured on {machine()}.\n\n{text}\n{MARK}{after}")


if __name__ == "__main__":
    main()
