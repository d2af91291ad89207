"""Exports the audit trail: CSV for spreadsheets, JSON lines for programs."""

import csv
import enum
import io
from collections.abc import Sequence

from app.audit.schemas import AuditOut

COLUMNS = tuple(AuditOut.model_fields)
# Characters that start a formula in spreadsheets, or are dropped before one.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Format(enum.StrEnum):
    """The export's format."""

    CSV = "csv"
    NDJSON = "ndjson"


MEDIA_TYPES = {Format.CSV: "text/csv", Format.NDJSON: "application/x-ndjson"}


def head(format: Format) -> str:
    """Return the file's header."""
    return _row(COLUMNS) if format is Format.CSV else ""


def lines(format: Format, entries: Sequence[AuditOut]) -> str:
    """Format entries as lines of a file."""
    if format is Format.NDJSON:
        return "".join(entry.model_dump_json() + "\n" for entry in entries)
    return "".join(_row([cell(value) for value in entry.model_dump(mode="json").values()]) for entry in entries)


def cell(value: object) -> str:
    """Format a value, prefixed with an apostrophe if a spreadsheet would read it as a formula.

    Escapes unprintable characters, as rows may come from other writers.
    """
    text = "" if value is None else str(value)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return f"'{shown}" if text.startswith(FORMULA) else shown


def _row(cells: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow(cells)
    return out.getvalue()
