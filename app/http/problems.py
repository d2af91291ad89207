"""Errors as clients see them: `application/problem+json` (RFC 9457).

A business error is a class with `code`, `status`, `title` and `detail`; a route lists those it can give with
`responses=problems(...)`. Nothing else reaches a client: an unknown exception is logged and answered as
`internal`, without its text.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, NoResultFound
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
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

# A NUL character: JSON, forms and addresses can hold one, PostgreSQL's texts cannot.
UNSTORABLE_STATE = "22021"
# A statement was prepared before the tables changed; the next one is prepared anew.
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
    code: str = Field(description="Stable; clients may switch on it.")
    error: str
    request_id: str
    errors: list[FieldError] = Field([], description="Set when fields are invalid.")


# By pydantic's error types; `{…}` are the limits that the field declares.
FIELD_TEXTS: dict[str, Text] = {
    "missing": Text("This field is required.", "Dieses Feld ist erforderlich."),
    "invalid_email": Text("This is not a usable e-mail address.", "Das ist keine brauchbare E-Mail-Adresse."),
    "string_too_long": Text(
        "This is too long: {max_length} characters at most.", "Das ist zu lang: höchstens {max_length} Zeichen."
    ),
    "string_too_short": Text("This must not be empty.", "Das darf nicht leer sein."),
    "too_short": Text("Name at least one.", "Nenne mindestens eines."),
    "too_long": Text("These are too many: {max_length} at most.", "Das sind zu viele: höchstens {max_length}."),
    "one_end": Text("Send either days or expires_at.", "Sende entweder days oder expires_at."),
    "bad_end": Text("This must lie ahead, and within a year.", "Das muss in der Zukunft liegen, binnen eines Jahres."),
    "reason_too_short": Text(
        "Say why, in {min_length} characters or more.", "Bitte begründen, mit mindestens {min_length} Zeichen."
    ),
    "string_type": Text("This must be text.", "Das muss Text sein."),
    "string_unicode": Text("This is not valid Unicode text.", "Das ist kein gültiger Unicode-Text."),
    "json_invalid": Text("The body is not valid JSON.", "Der Inhalt ist kein gültiges JSON."),
    "model_attributes_type": Text(
        "The body must be a JSON object, sent as application/json.",
        "Der Inhalt muss ein JSON-Objekt sein, gesendet als application/json.",
    ),
    "uuid_parsing": Text("This is not an id.", "Das ist keine ID."),
    "enum": Text("This is none of the values that are allowed here.", "Das ist keiner der erlaubten Werte."),
    "int_parsing": Text("This must be a whole number.", "Das muss eine ganze Zahl sein."),
    "bool_parsing": Text("This must be true or false.", "Das muss true oder false sein."),
    "float_parsing": Text("This must be a number.", "Das muss eine Zahl sein."),
    "greater_than_equal": Text("This must be {ge:g} or more.", "Das muss mindestens {ge:g} sein."),
    "less_than_equal": Text("This must be {le:g} or less.", "Das darf höchstens {le:g} sein."),
}
OTHER_FIELD_TEXT = Text("This value is not valid.", "Dieser Wert ist ungültig.")


# What `app.state.error_page` holds: the page for a problem, or None where a program asked.
ErrorPage = Callable[[Request, Problem], Response | None]
# What `app.state.record_denial` holds: it writes a refusal into the audit trail, and never fails.
RecordDenial = Callable[[Request, AppError], Awaitable[None]]


def problems(*errors: type[AppError]) -> dict[int | str, dict[str, Any]]:
    """Describe errors for a route's `responses=`; those of one status share an entry with an example each.

    Whatever asks who calls can be shown a personal token, and refuse it. The schema is a reference that
    `app.openapi.document` makes good.
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
    """Turn an error into its answer, in the caller's language: a problem document, or the page that people see."""
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


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # nosec B101 # narrows the type
    locale = locale_of(request)
    return render(request, InvalidRequest(), [_field_error(item, locale) for item in error.errors()])


def _field_error(item: dict[str, Any], locale: Locale) -> FieldError:
    code = item["type"]
    # Where a body is no JSON, the rest of the place is a position in the text.
    place = item["loc"][:1] if code == "json_invalid" else item["loc"][1:] or item["loc"][:1]
    message = FIELD_TEXTS.get(code, OTHER_FIELD_TEXT).format(locale, **item.get("ctx", {}))
    return FieldError(field=".".join(str(part) for part in place), code=code, message=message)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # nosec B101 # narrows the type
    known: dict[int, type[AppError]] = {404: NotFound, 405: MethodNotAllowed, 408: RequestStalled, 413: TooLarge}
    if error.status_code in known:
        answer = render(request, known[error.status_code]())
    else:  # FastAPI could not read the body: its bytes are no text, say
        body = _field_error({"type": "json_invalid", "loc": ("body",)}, locale_of(request))
        answer = render(request, InvalidRequest(), [body])
    answer.headers.update(error.headers or {})
    if "Allow" in answer.headers:
        answer.headers["Allow"] = _allowed(request)
    return answer


def _allowed(request: Request) -> str:
    """The methods that an address knows: Starlette names those of its first route alone."""
    routes = request.app.routes
    known = (
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    )
    return ", ".join(known)


def unexpected(request: Request, error: Exception) -> Response:
    """Answer what nobody expected: 503 where a part of the service is away, else 500. The log alone sees the text.

    What no field forbids and PostgreSQL cannot store is the caller's mistake.
    """
    if isinstance(error, DBAPIError) and sqlstate(error) == UNSTORABLE_STATE:
        return render(request, InvalidRequest())
    if isinstance(error, DBAPIError) and sqlstate(error) in (*LACKING, STALE_PLAN):
        # Somebody migrated the tables under this version; `/readyz` says whether it still fits them.
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
    """Answer any exception, where no framework's handlers stand around what raised it."""
    return await _app_error(request, error) if isinstance(error, AppError) else unexpected(request, error)


def install(app: Starlette) -> None:
    """Register the handlers, so that every error of the app is a problem document.

    What no handler takes is answered by `unexpected`, from the middleware.
    """
    app.state.error_page = None
    app.state.record_denial = None
    app.add_exception_handler(AppError, _app_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
