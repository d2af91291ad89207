"""Structured logs: one event per line, with the id of the request or job.

Query strings, cookies, headers and bodies contain secrets and are never logged.
"""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

MAX_CAUSE = 200
# Fields of the current request or job. One variable: structlog has one for each field, which costs as many lookups.
_bound: ContextVar[Mapping[str, object]] = ContextVar("log_fields", default={})  # noqa: B039 - never changed in place
# SQLSTATE classes whose messages describe the server, roles or tables. Other messages may contain values.
TELLING_STATES = ("08", "28", "3D", "42501", "42P01", "42703", "53", "55P03", "57")


def cause(error: BaseException) -> dict[str, object]:
    """Return log fields for an error: its class, and its text as far as that contains no values."""
    # Checked by attribute: programs without a database need not import the libraries.
    inner: BaseException = getattr(error, "orig", None) or error
    fields: dict[str, object] = {"error": type(inner).__name__}
    if state := getattr(inner, "sqlstate", None):
        fields["sqlstate"] = state
        if state.startswith(TELLING_STATES):
            fields["cause"] = _first_line(str(inner).rpartition(">: ")[2])
    elif isinstance(inner, OSError):
        fields["cause"] = inner.strerror or _first_line(str(inner))
        if inner.filename is not None:
            fields["object"] = str(inner.filename)
    elif type(inner).__module__.startswith("redis."):
        fields["cause"] = _first_line(str(inner))
    return fields


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:MAX_CAUSE]


def bind_anew(**fields: object) -> None:
    """Begin a request: its log lines have these fields alone."""
    _bound.set(fields)


def bind(**fields: object) -> None:
    """Add fields to the log lines of the current request or job."""
    _bound.set({**_bound.get(), **fields})


def bind_to_request(**fields: object) -> None:
    """Add fields to the log lines of the current request; without a request, do nothing."""
    if "request_id" in _bound.get():
        bind(**fields)


def _with_bound(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {**_bound.get(), **event}


def _as_message(_: object, __: str, event: structlog.typing.EventDict) -> tuple[tuple[object], dict[str, object]]:
    return (event,), {}


def _redact(
    redact: Callable[[str], str], _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Remove the platform's secrets from every text of a log line."""
    together = " ".join([value for value in event.values() if isinstance(value, str)])
    if redact(together) == together:
        return event
    return {name: redact(value) if isinstance(value, str) else value for name, value in event.items()}


class _EventFormatter(logging.Formatter):
    """Renders structlog's events, and other libraries' messages as events. structlog's own formatter copies each record
    and costs three times as much.
    """

    def __init__(self, processors: Sequence[structlog.typing.Processor]) -> None:
        super().__init__()
        self._processors = processors

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, dict):
            event = dict(record.msg)
        else:
            event = {**_bound.get(), "event": record.getMessage(), "level": record.levelname.lower()}
            if record.exc_info:
                event["exc_info"] = record.exc_info
        event["logger"] = record.name
        event["timestamp"] = datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")
        rendered: Any = event
        for processor in self._processors:
            rendered = processor(None, event["level"], rendered)
        return str(rendered)


# Texts with these are quoted in readable lines.
_AMBIGUOUS = re.compile(r"[\s=\"']")
_ENCODER = json.JSONEncoder(default=repr)
_processors: list[structlog.typing.Processor] = []


def _to_json(_: object, __: str, event: structlog.typing.EventDict) -> str:
    return _ENCODER.encode(event)


def _to_text(_: object, __: str, event: structlog.typing.EventDict) -> str:
    """Render as structlog's console renderer does, which costs more than a whole poll's statement."""
    head = f"{event.pop('timestamp')} [{event.pop('level'):<9}] {event.pop('event'):<30} [{event.pop('logger')}]"
    traceback = f"\n{event.pop('exception')}" if "exception" in event else ""
    return "".join([head, *(f" {name}={_spell(value)}" for name, value in sorted(event.items())), traceback])


def _spell(value: object) -> str:
    return value if isinstance(value, str) and not _AMBIGUOUS.search(value) else repr(value)


def configure(*, pretty: bool, redact: Callable[[str], str] | None = None) -> None:
    """Send structlog and standard-library logs to stderr: JSON, or readable for development.

    `redact` removes secrets from texts.
    """
    # Changed in place: loggers already in use keep a reference to this list.
    _processors[:] = [_with_bound, structlog.stdlib.add_log_level, _as_message]
    structlog.configure(
        processors=_processors,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    final: list[structlog.typing.Processor] = [structlog.processors.format_exc_info]
    if redact is not None:
        final.append(partial(_redact, redact))
    handler = logging.StreamHandler()
    handler.setFormatter(_EventFormatter([*final, _to_text if pretty else _to_json]))
    # Skips source location, thread and process of each line: nothing prints them, and each costs a lookup.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "arq"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    # uvicorn.access prints URLs with query strings, and so tokens; the others repeat our own lines.
    for name in ("uvicorn.access", "arq.worker"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).setLevel(logging.WARNING)
