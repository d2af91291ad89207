"""Structured logs: one event per line, with the id of the request or job.

Query strings, cookies, headers and bodies contain secrets and are never logged.
"""

import json
import logging
import sys
from collections.abc import Callable
from functools import partial

import structlog

MAX_CAUSE = 200
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


def bind_to_request(**fields: str) -> None:
    """Add fields to the log lines of the current request; without a request, do nothing."""
    if "request_id" in structlog.contextvars.get_contextvars():
        structlog.contextvars.bind_contextvars(**fields)


def _redact(
    redact: Callable[[str], str], _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Remove the platform's secrets from every text of a log line."""
    return {name: redact(value) if isinstance(value, str) else value for name, value in event.items()}


_ENCODER = json.JSONEncoder(default=repr)
_processors: list[structlog.typing.Processor] = []


def _to_json(_: object, __: str, event: structlog.typing.EventDict) -> str:
    return _ENCODER.encode(event)


def configure(*, pretty: bool, redact: Callable[[str], str] | None = None) -> None:
    """Send structlog and standard-library logs to stderr: JSON, or readable for development.

    `redact` removes secrets from texts.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Pretty tracebacks print the values of variables, including secrets.
    plain = structlog.dev.plain_traceback
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain) if pretty else _to_json
    )
    # Changed in place: loggers already in use keep a reference to this list.
    _processors[:] = [*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter]
    structlog.configure(
        processors=_processors,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    final: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if not pretty:
        final.append(structlog.processors.format_exc_info)
    if redact is not None:
        final.append(partial(_redact, redact))
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*final, renderer]))
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
    for name in ("uvicorn.access", "httpx", "arq.worker"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).setLevel(logging.WARNING)
