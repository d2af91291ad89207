"""Converts arq's failure messages to structured events."""

import logging

import structlog

from app.core.logging import cause

log = structlog.get_logger(__name__)

# By arq's own format strings: the failure, and the names of its values. `ref` is a message and its function.
FAILURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "%6.2fs ! %s failed, %s: %s": ("raised", ("seconds", "ref", "error", "text")),
    "%6.2fs ! %s max retries %d exceeded": ("too_many_tries", ("seconds", "ref", "tries")),
    "job %s expired": ("expired", ("ref",)),
    "job %s, function %r not found": ("unknown_function", ("ref", "function")),
    "deserializing job %s failed": ("unreadable", ("ref",)),
}


def log_as_event(record: logging.LogRecord) -> bool:
    """Filter of arq's logger: replaces failures by the event `queue_job_failed`; passes other records.

    An error's text may contain values: besides the traceback, logs only its class and what `cause` permits.
    """
    if record.msg not in FAILURES or not isinstance(record.args, tuple):
        return True
    reason, names = FAILURES[record.msg]
    values = dict(zip(names, record.args, strict=True))
    fields: dict[str, object] = {"reason": reason, **_identify(str(values["ref"]))}
    if "seconds" in values:
        fields["ms"] = round(float(str(values["seconds"])) * 1000, 1)
    if "tries" in values:
        fields["tries"] = values["tries"]
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        fields |= cause(error)
    log.log(record.levelno, "queue_job_failed", exc_info=error, **fields)
    return False


def _identify(ref: str) -> dict[str, object]:
    """Return the function and the row of a message.

    `ref` is `<instance>:launch_workspace:<row>:<attempt>`, optionally followed by the function again.
    """
    _, function, row = [*ref.split(":"), "", ""][:3]
    return {"function": function, "job_id": row}
