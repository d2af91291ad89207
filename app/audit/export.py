"""The audit trail as a file: CSV for spreadsheets, or a JSON object a line for programs."""

import csv
import enum
import io
from collections.abc import Sequence

from app.audit.schemas import AuditOut

COLUMNS = tuple(AuditOut.model_fields)
# What a spreadsheet takes for the beginning of a formula, or drops before it.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Format(enum.StrEnum):
    """How an export is written."""

    CSV = "csv"
    NDJSON = "ndjson"


MEDIA_TYPES = {Format.CSV: "text/csv", Format.NDJSON: "application/x-ndjson"}


def head(format: Format) -> str:
    """What a file begins with."""
    return _row(COLUMNS) if format is Format.CSV else ""


def lines(format: Format, entries: Sequence[AuditOut]) -> str:
    """Entries as lines of a file."""
    if format is Format.NDJSON:
        return "".join(entry.model_dump_json() + "\n" for entry in entries)
    return "".join(_row([cell(value) for value in entry.model_dump(mode="json").values()]) for entry in entries)


def cell(value: object) -> str:
    """A value that no spreadsheet takes for a formula: such a one gets an apostrophe before it.

    What is not printable is escaped, also in rows that were not written by us.
    """
    text = "" if value is None else str(value)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return f"'{shown}" if text.startswith(FORMULA) else shown


def _row(cells: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow(cells)
    return out.getvalue()
