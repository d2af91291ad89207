"""`make bench`: measure section after section, print the table, and keep it in docs/performance.md."""

import asyncio
import os
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from bench.runner import Runner
from bench.sections import ALL_SECONDS, SECTIONS, parse_only
from bench.table import Row, as_table, machine, write
from deploy.stack import images
from deploy.stack.engine import Engine, engine_url
from deploy.stack.layout import open_layout
from tests.support.stack import ROOT

HEAD = ("section", "what", "target", "measured", "floor", "ratio", "verdict")


def table(rows: dict[str, list[Row]]) -> str:
    """One table of all sections."""
    lines = as_table([], HEAD).splitlines()
    for name, found in rows.items():
        lines += [f"| {name} {line}" for line in as_table(found).splitlines()[2:]]
    return "\n".join(lines)


def make_images() -> None:
    """Make the sample images where the engine lacks them; that takes none of the run's time."""
    with closing(Engine(engine_url(os.environ))) as engine:
        samples = images.samples(ROOT / "images" / "catalog.yaml")
        images.ensure_images(engine, samples, open_layout(ROOT), partial(print, file=sys.stderr))


def main() -> None:
    """`ONLY` is a comma list of sections; a table of some of them is printed and not kept."""
    only = os.environ.get("ONLY", "")
    if only == "help":
        for section in SECTIONS:
            print(f"{section.name:<12} {section.about}")
        return
    try:
        names = parse_only(only, [section.name for section in SECTIONS])
    except ValueError as wrong:
        sys.exit(str(wrong))
    make_images()
    logs = ROOT / ".spawner" / "bench"
    measured_on, began = machine(), time.monotonic()
    sections = [section for section in SECTIONS if section.name in names]
    runner = Runner(sections, logs, ALL_SECONDS)
    try:
        asyncio.run(runner.run())
    finally:
        took = time.monotonic() - began
        text = f"Measured on {measured_on}, in {took / 60:.1f} minutes.\n\n{table(runner.rows)}"
        print(text)
        if len(names) == len(SECTIONS):
            write("bench", text)
        print(f"\nLogs: {_short(logs)}")


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
