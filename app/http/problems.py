"""Errors as clients see them: `application/problem+json` (RFC 9457).

A business error is a class with `code`, `status`, `title` and `detail`; a route lists those it can give with
`responses=problems(...)`. Nothing else reaches a client: an unknown exception is logged and answered as
`internal`, without its text.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.core.i18n import Locale, Text, negotiate
from app.core.logging import cause
from app.core.schema import LACKING

log = structlog.get_logger(__name__)

# SQLSTATE: connection, serialization, resources, a lock not got in time, an operator's intervention.
RETRIABLE_STATES = ("08", "40", "53", "55P03", "57")
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


class AppError(Exception):
    """Base of what a service may raise. `values` fill the placeholders of `detail`; in the document `example` does.

    One that is `audited` is a refusal that the audit trail keeps, where a signed-in caller was refused.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[Text]
    detail: ClassVar[Text]
    audited: ClassVar[bool] = False
    example: ClassVar[Mapping[str, object]] = {}

    def __init__(self, *, headers: Mapping[str, str] | None = None, **values: object) -> None:
        super().__init__(self.code)
        self.headers = dict(headers or {})
        self.values = values


class InvalidRequest(AppError):
    code = "invalid_request"
    status = 400
    title = Text("Invalid request", "Ungültige Anfrage")
    detail = Text("The request has invalid fields.", "Die Anfrage enthält ungültige Felder.")


class Unauthorized(AppError):
    code = "unauthorized"
    status = 401
    title = Text("Not signed in", "Nicht angemeldet")
    detail = Text(
        "Sign in first: the token is missing, expired or its session has ended.",
        "Bitte zuerst anmelden: Das Token fehlt, ist abgelaufen oder seine Sitzung wurde beendet.",
    )

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


class Forbidden(AppError):
    code = "cross_site"
    status = 403
    title = Text("Refused", "Abgelehnt")
    detail = Text(
        "This request came from another site and was refused.",
        "Diese Anfrage kam von einer anderen Website und wurde abgelehnt.",
    )
    audited = True


class SignInAgain(AppError):
    code = "sign_in_again"
    status = 403
    title = Text("Sign in again", "Erneut anmelden")
    detail = Text(
        "This needs a sign-in of the last 15 minutes. Sign out, sign in again, and repeat it.",
        "Dafür ist eine Anmeldung aus den letzten 15 Minuten nötig. Melde dich ab, dann neu an, und wiederhole es.",
    )
    audited = True


class NotAdmin(AppError):
    code = "not_admin"
    status = 403
    title = Text("Admins only", "Nur für Administratoren")
    detail = Text(
        "This is for admins of this installation.", "Das ist Administratoren dieser Installation vorbehalten."
    )
    audited = True


class InsufficientScope(AppError):
    code = "insufficient_scope"
    status = 403
    title = Text("Not within this token's scopes", "Außerhalb der Rechte dieses Tokens")
    detail = Text(
        "This token is not good for that: its scopes do not include it, or it takes a person who is signed in.",
        "Dieses Token gilt dafür nicht: Seine Rechte umfassen das nicht, oder es braucht eine angemeldete Person.",
    )
    audited = True

    def __init__(self, scope: str = "") -> None:
        # RFC 6750, 3.1: which scope would do; none where no token does.
        needed = f', scope="{scope}"' if scope else ""
        super().__init__(headers={"WWW-Authenticate": f'Bearer error="insufficient_scope"{needed}'})


class NotFound(AppError):
    code = "not_found"
    status = 404
    title = Text("Not found", "Nicht gefunden")
    detail = Text("There is nothing here.", "Hier gibt es nichts.")


class MethodNotAllowed(AppError):
    code = "method_not_allowed"
    status = 405
    title = Text("Method not allowed", "Methode nicht erlaubt")
    detail = Text("This address does not answer that method.", "Diese Adresse kennt diese Methode nicht.")


class TooLarge(AppError):
    code = "too_large"
    status = 413
    title = Text("Too large", "Zu groß")
    detail = Text("The body of this request is too large.", "Der Inhalt dieser Anfrage ist zu groß.")


class RequestStalled(AppError):
    code = "request_stalled"
    status = 408
    title = Text("Upload stood still", "Hochladen stand still")
    detail = Text(
        "The body of this request did not arrive: nothing came for too long. Send it again.",
        "Der Inhalt dieser Anfrage ist nicht angekommen: Zu lange kam nichts. Bitte noch einmal senden.",
    )


class IdempotencyConflict(AppError):
    code = "idempotency_conflict"
    status = 409
    title = Text("Key used before", "Schlüssel bereits benutzt")
    detail = Text(
        "This Idempotency-Key was sent before with another request; use a new key.",
        "Dieser Idempotency-Key wurde schon mit einer anderen Anfrage gesendet; bitte einen neuen verwenden.",
    )


class Unavailable(AppError):
    code = "unavailable"
    status = 503
    title = Text("Try again shortly", "Bitte gleich noch einmal versuchen")
    detail = Text(
        "A part of the service does not answer. Nothing was changed; try again in a few seconds.",
        "Ein Teil des Dienstes antwortet nicht. Es wurde nichts geändert; bitte in einigen Sekunden erneut versuchen.",
    )

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "5"})


class Internal(AppError):
    code = "internal"
    status = 500
    title = Text("Something went wrong", "Etwas ist schiefgegangen")
    detail = Text(
        "The request failed on our side. Give the request id to your operator.",
        "Die Anfrage ist bei uns fehlgeschlagen. Bitte dem Betreiber die Anfrage-ID nennen.",
    )


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
# What `app.state.note_refusal` holds: it writes a refusal into the audit trail, and never fails.
NoteRefusal = Callable[[Request, AppError], Awaitable[None]]


def problems(*errors: type[AppError]) -> dict[int | str, dict[str, Any]]:
    """Describe errors for a route's `responses=`; those of one status share an entry with an example each.

    Whatever asks who calls can be shown a personal token, and refuse it. The schema is a reference that `app.openapi.document`
    makes good.
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
    detail = error.detail.say("en", **error.example)
    return Problem(
        title=error.title.en,
        status=error.status,
        detail=detail,
        code=error.code,
        error=detail,
        request_id="5f0c2d9e1b7a4c38",
        errors=[missing] if error is InvalidRequest else [],
    )


def locale_of(request: Request) -> Locale:
    """The language to answer this request in."""
    return negotiate(request.headers.get("accept-language", ""), request.app.state.settings.default_locale)


def render(request: Request, error: AppError, fields: list[FieldError] | None = None) -> Response:
    """Turn an error into its answer, in the caller's language: a problem document, or the page that people see."""
    locale = locale_of(request)
    detail = error.detail.say(locale, **error.values)
    problem = Problem(
        title=error.title.say(locale),
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
    note: NoteRefusal | None = request.app.state.note_refusal
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
    message = FIELD_TEXTS.get(code, OTHER_FIELD_TEXT).say(locale, **item.get("ctx", {}))
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


def _state(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def is_away(error: Exception) -> bool:
    """Whether trying again may help: PostgreSQL or Redis is away, starting, or out of connections or patience."""
    if isinstance(error, DBAPIError):
        state = _state(error)
        # Without a statement it failed to connect, or to commit.
        return error.connection_invalidated or error.statement is None or state.startswith(RETRIABLE_STATES)
    return isinstance(error, OSError | PoolTimeout | RedisError)


def unexpected(request: Request, error: Exception) -> Response:
    """Answer what nobody expected: 503 where a part of the service is away, else 500. The log alone sees the text.

    What no field forbids and PostgreSQL cannot store is the caller's mistake.
    """
    if isinstance(error, DBAPIError) and _state(error) == UNSTORABLE_STATE:
        return render(request, InvalidRequest())
    if isinstance(error, DBAPIError) and _state(error) in (*LACKING, STALE_PLAN):
        # Somebody migrated the tables under this version; `/readyz` says whether it still fits them.
        log.error("tables_changed", error=str(error.orig), remedy="restart with the version that migrated them")
        return render(request, Unavailable())
    if is_away(error):
        log.warning("part_unreachable", **cause(error))
        return render(request, Unavailable())
    log.error("unhandled", exc_info=error)
    return render(request, Internal())


def install(app: FastAPI) -> None:
    """Register the handlers, so that every error of the app is a problem document.

    What no handler takes is answered by `unexpected`, from the middleware.
    """
    app.state.error_page = None
    app.state.note_refusal = None
    app.add_exception_handler(AppError, _app_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
