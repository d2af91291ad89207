"""Error responses: `application/problem+json` (RFC 9457).

An `AppError` has `code`, `status`, `title` and `detail`; routes declare theirs with `responses=problems(...)`. Other
exceptions are logged and answered as `internal`, without their text.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, NoResultFound
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from app.core.errors import (
    AppError,
    InsufficientScope,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
    is_transient,
    sqlstate,
)
from app.core.i18n import Locale, Text
from app.core.logging import cause
from app.core.schema import LACKING
from app.http.errors import RequestStalled
from app.http.negotiation import locale_of

log = structlog.get_logger(__name__)

# SQLSTATE of a NUL character: valid in JSON, forms and URLs, not in PostgreSQL's text.
UNSTORABLE_STATE = "22021"
# A prepared statement is older than a schema change; the next one is prepared anew.
STALE_PLAN = "0A000"
MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """One invalid field of a request."""

    field: str = Field(examples=["email"])
    code: str = Field(examples=["missing"])
    message: str = Field(examples=["This field is required."])


class Problem(BaseModel):
    """The body of every error (RFC 9457). `error` repeats `detail` for clients of the first version."""

    type: str = Field("about:blank", examples=["about:blank"])
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable: clients may depend on it.")
    error: str
    request_id: str
    errors: list[FieldError] = Field([], description="Set when fields are invalid.")


# By pydantic's error type; `{…}` are the field's declared limits.
FIELD_TEXTS: dict[str, Text] = {
    "missing": Text("This field is required.", "Dieses Feld ist erforderlich."),
    "invalid_email": Text("This is not a usable e-mail address.", "Das ist keine brauchbare E-Mail-Adresse."),
    "string_too_long": Text(
        "This is too long: {max_length} characters at most.", "Das ist zu lang: höchstens {max_length} Zeichen."
    ),
    "string_too_short": Text("This must not be empty.", "Das darf nicht leer sein."),
    "too_short": Text("Send at least one.", "Sende mindestens eines."),
    "too_long": Text("These are too many: {max_length} at most.", "Das sind zu viele: höchstens {max_length}."),
    "one_end": Text("Send either days or expires_at.", "Sende entweder days oder expires_at."),
    "bad_end": Text(
        "This must be in the future, and within a year.", "Das muss in der Zukunft liegen, binnen eines Jahres."
    ),
    "reason_too_short": Text(
        "Give a reason of at least {min_length} characters.", "Bitte mit mindestens {min_length} Zeichen begründen."
    ),
    "string_type": Text("This must be text.", "Das muss Text sein."),
    "string_unicode": Text("This is not valid Unicode text.", "Das ist kein gültiger Unicode-Text."),
    "json_invalid": Text("The body is not valid JSON.", "Der Inhalt ist kein gültiges JSON."),
    "model_attributes_type": Text(
        "The body must be a JSON object, sent as application/json.",
        "Der Inhalt muss ein JSON-Objekt sein, gesendet als application/json.",
    ),
    "uuid_parsing": Text("This is not an id.", "Das ist keine ID."),
    "enum": Text("This is not one of the allowed values.", "Das ist keiner der erlaubten Werte."),
    "int_parsing": Text("This must be a whole number.", "Das muss eine ganze Zahl sein."),
    "bool_parsing": Text("This must be true or false.", "Das muss true oder false sein."),
    "float_parsing": Text("This must be a number.", "Das muss eine Zahl sein."),
    "greater_than_equal": Text("This must be {ge:g} or more.", "Das muss mindestens {ge:g} sein."),
    "less_than_equal": Text("This must be {le:g} or less.", "Das darf höchstens {le:g} sein."),
}
OTHER_FIELD_TEXT = Text("This value is not valid.", "Dieser Wert ist ungültig.")


# `app.state.error_page`: returns the HTML page of a problem, or None for API clients.
ErrorPage = Callable[[Request, Problem], Response | None]
# `app.state.record_denial`: writes a denial to the audit trail; never raises.
RecordDenial = Callable[[Request, AppError], Awaitable[None]]


def problems(*errors: type[AppError]) -> dict[int | str, dict[str, Any]]:
    """Build a route's `responses=`; errors of the same status share an entry with one example each.

    Adds the errors of personal tokens to routes that require a principal. The schema is a reference that
    `app.openapi.document` resolves.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    if Unauthorized in errors:
        errors = (*errors, InsufficientScope)
    for error in errors:
        content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
        entry = responses.setdefault(error.status, {"description": error.title.en, "content": {MEDIA_TYPE: content}})
        if error.title.en not in entry["description"]:
            entry["description"] += f"; {error.title.en.lower()}"
        entry["content"][MEDIA_TYPE]["examples"][error.code] = {
            "summary": error.title.en,
            "value": _example(error).model_dump(),
        }
    return responses


def _example(error: type[AppError]) -> Problem:
    missing = FieldError(field="email", code="missing", message=FIELD_TEXTS["missing"].en)
    detail = error.detail.format("en", **error.example)
    return Problem(
        title=error.title.en,
        status=error.status,
        detail=detail,
        code=error.code,
        error=detail,
        request_id="5f0c2d9e1b7a4c38",
        errors=[missing] if error is InvalidRequest else [],
    )


def render(request: Request, error: AppError, fields: list[FieldError] | None = None) -> Response:
    """Render an error in the caller's language, as a problem document or an HTML page."""
    locale = locale_of(request)
    detail = error.detail.format(locale, **error.values)
    problem = Problem(
        title=error.title.format(locale),
        status=error.status,
        detail=detail,
        code=error.code,
        error=detail,
        request_id=request.state.request_id,
        errors=fields or [],
    )
    page: ErrorPage | None = request.app.state.error_page
    answer = page(request, problem) if page is not None else None
    if answer is None:
        answer = JSONResponse(problem.model_dump(), error.status, media_type=MEDIA_TYPE)
    answer.headers.update(error.headers)
    return answer


async def _app_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AppError)  # nosec B101 # narrows the type
    note: RecordDenial | None = request.app.state.record_denial
    if error.audited and note is not None:
        await note(request, error)
    return render(request, error)


def field_error(item: dict[str, Any], locale: Locale) -> FieldError:
    """Describe one of pydantic's errors."""
    code = item["type"]
    # For invalid JSON the rest of `loc` is a position in the text.
    place = item["loc"][:1] if code == "json_invalid" else item["loc"][1:] or item["loc"][:1]
    message = FIELD_TEXTS.get(code, OTHER_FIELD_TEXT).format(locale, **item.get("ctx", {}))
    return FieldError(field=".".join(str(part) for part in place), code=code, message=message)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # nosec B101 # narrows the type
    known: dict[int, type[AppError]] = {404: NotFound, 405: MethodNotAllowed, 408: RequestStalled, 413: TooLarge}
    if error.status_code in known:
        answer = render(request, known[error.status_code]())
    else:  # FastAPI could not read the body, for example invalid UTF-8
        body = field_error({"type": "json_invalid", "loc": ("body",)}, locale_of(request))
        answer = render(request, InvalidRequest(), [body])
    answer.headers.update(error.headers or {})
    if "Allow" in answer.headers:
        answer.headers["Allow"] = _allowed(request)
    return answer


def _allowed(request: Request) -> str:
    """Return the methods of all routes of the path: Starlette names only those of the first."""
    routes = request.app.routes
    known = (
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    )
    return ", ".join(known)


def unexpected(request: Request, error: Exception) -> Response:
    """Answer an unexpected exception: 503 if a dependency is unavailable, else 500. Only the log has its text.

    Text that PostgreSQL cannot store is a client error.
    """
    if isinstance(error, DBAPIError) and sqlstate(error) == UNSTORABLE_STATE:
        return render(request, InvalidRequest())
    if isinstance(error, DBAPIError) and sqlstate(error) in (*LACKING, STALE_PLAN):
        # The schema was migrated under this version; `/readyz` reports whether it still fits.
        log.error("tables_changed", error=str(error.orig), remedy="restart with the version that migrated them")
        return render(request, Unavailable())
    if is_transient(error):
        log.warning("part_unreachable", **cause(error))
        return render(request, Unavailable())
    if isinstance(error, NoResultFound):
        # `get_one` of a row that another request has just deleted.
        log.warning("row_gone", exc_info=error)
        return render(request, NotFound())
    log.error("unhandled", exc_info=error)
    return render(request, Internal())


async def answer(request: Request, error: Exception) -> Response:
    """Answer any exception outside the framework's handlers."""
    return await _app_error(request, error) if isinstance(error, AppError) else unexpected(request, error)


def install(app: Starlette) -> None:
    """Register the handlers, so that every error becomes a problem document; `app.http.validation` adds FastAPI's.

    The middleware answers other exceptions with `unexpected`.
    """
    app.state.error_page = None
    app.state.record_denial = None
    app.add_exception_handler(AppError, _app_error)
    app.add_exception_handler(HTTPException, _http)
