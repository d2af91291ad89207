"""Rows of the tables: what was measured, its floor, its target and the verdict. No figure is rounded in our favour."""

import math
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
HEAD = ("what", "target", "measured", "floor", "ratio", "verdict")
REACHED, MISSED = "reached", "**not reached**"


class Failed(Exception):
    """What was to be measured did not happen; says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table. `floor` is the same work without Spawner, measured in the same run."""

    what: str
    target: str = ""
    measured: str = ""
    floor: str = ""
    ratio: str = ""
    verdict: str = ""


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest rank: the smallest value that this share of the values does not exceed."""
    ranked = sorted(values)
    return ranked[max(math.ceil(len(ranked) * percent / 100), 1) - 1]


def median(values: Sequence[float]) -> float:
    """The upper median."""
    ranked = sorted(values)
    return ranked[len(ranked) // 2]


def written(value: float, unit: str, *, up: bool) -> str:
    """A figure with three digits or more, rounded up or down."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    scaled = round(value * 10**digits, 6)
    cut = (math.ceil(scaled) if up else math.floor(scaled)) / 10**digits
    return f"{cut:,.{digits}f} {unit}".rstrip()


def at_most(what: str, measured: float, most: float, unit: str = "ms", *, floor: str = "") -> Row:
    """A figure that may be `most`."""
    verdict = REACHED if measured <= most else MISSED
    return Row(what, f"{most:g} {unit}".rstrip(), written(measured, unit, up=True), floor, "", verdict)


def none_of(what: str, found: int, total: int, detail: str = "") -> Row:
    """Something that shall not happen once."""
    measured = f"{found} of {total}" + (f" ({detail})" if detail else "")
    return Row(what, "none", measured, verdict=REACHED if total and not found else MISSED)


def share_of_floor(what: str, measured: float, floor: float, least: float, unit: str = "a second") -> Row:
    """A rate that shall be a share of its floor's."""
    ratio = measured / floor if floor else 0.0
    return Row(
        what,
        f"{least:g} of the floor",
        written(measured, unit, up=False),
        written(floor, unit, up=True),
        written(ratio, "", up=False),
        REACHED if ratio >= least else MISSED,
    )


def floor_plus(what: str, measured: float, floor: float, extra: float, unit: str = "ms") -> Row:
    """A time that may take so much longer than its floor."""
    return Row(
        what,
        f"floor + {extra:g} {unit}",
        written(measured, unit, up=True),
        written(floor, unit, up=False),
        f"{'+' if measured >= floor else ''}{written(measured - floor, unit, up=True)}",
        REACHED if measured - floor <= extra else MISSED,
    )


def times_floor(what: str, measured: float, floor: float, most: float, unit: str = "ms") -> Row:
    """A time that may be so many times its floor."""
    ratio = measured / floor if floor else math.inf
    return Row(
        what,
        f"{most:g} of the floor",
        written(measured, unit, up=True),
        written(floor, unit, up=False),
        written(ratio, "", up=True) if floor else "",
        REACHED if ratio <= most else MISSED,
    )


def figure(what: str, measured: float, unit: str, *, up: bool = True, floor: str = "") -> Row:
    """A figure without a target."""
    return Row(what, measured=written(measured, unit, up=up), floor=floor)


def not_reached(what: str, why: str, target: str = "") -> Row:
    """What could not be measured, and why, in one line."""
    return Row(what, target, verdict=f"{MISSED}: {' '.join(why.split())[:300].replace('|', '/')}")


def as_table(rows: Iterable["DataclassInstance"], head: Sequence[str] = HEAD) -> str:
    """Rows as a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(astuple(row))} |" for row in rows]
    return "\n".join(lines)


def between_marks(page: str, mark: str, text: str) -> str:
    """The page with what stands between two marks replaced. Raises `ValueError` where they are missing."""
    sign = f"<!-- {mark} -->"
    parts = page.split(sign)
    if len(parts) != 3:
        raise ValueError(f"the page does not hold {sign} twice")
    return f"{parts[0]}{sign}\n{text}\n{sign}{parts[2]}"


def write(mark: str, text: str, page: Path = PAGE) -> None:
    """Replace what stands between the marks of docs/performance.md."""
    page.write_text(between_marks(page.read_text(), mark, text))


def machine() -> str:
    """What it was measured on, and how busy that was before."""
    memory = psutil.virtual_memory().total / (1 << 30)
    versions = f"Linux {platform.release()}, Python {platform.python_version()}"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, {memory:.0f} GiB, {versions}, load {load}"
