"""What arq says of messages that it could not work off, as events with fields like all our lines."""

import logging

import structlog

from app.core.logging import cause

log = structlog.get_logger(__name__)

# arq's own formats: what each says went wrong, and the names of its values. `ref` is a message and its function.
FAILURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "%6.2fs ! %s failed, %s: %s": ("raised", ("seconds", "ref", "error", "text")),
    "%6.2fs ! %s max retries %d exceeded": ("too_many_tries", ("seconds", "ref", "tries")),
    "job %s expired": ("expired", ("ref",)),
    "job %s, function %r not found": ("unknown_function", ("ref", "function")),
    "deserializing job %s failed": ("unreadable", ("ref",)),
}


def log_as_event(record: logging.LogRecord) -> bool:
    """Filter of arq's logger: log a failure as the event `queue_job_failed` in place of the record; let others pass.

    The text of an error may hold values: beside the traceback, only its class and what `cause` lets through is told.
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
    """Name the function, and the row that the message is about.

    `ref` is `<instance>:launch_workspace:<row>:<attempt>`, perhaps with the function once more.
    """
    _, function, row = [*ref.split(":"), "", ""][:3]
    return {"function": function, "job_id": row}
