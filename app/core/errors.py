"""The base of errors that services raise, with code, status and texts; and the test for transient errors."""

from collections.abc import Mapping
from typing import ClassVar

from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.i18n import Text

# SQLSTATE: connection, serialization, resources, lock timeout, operator intervention.
RETRIABLE_STATES = ("08", "40", "53", "55P03", "57")


class AppError(Exception):
    """Base of the errors that services raise. `values` fill the placeholders of `detail`; `example` fills them in
    OpenAPI.

    The audit trail records `audited` errors of signed-in callers.
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
        "This requires a sign-in within the last 15 minutes. Sign out, sign in again, and repeat the step.",
        "Dafür ist eine Anmeldung aus den letzten 15 Minuten nötig. Melde dich ab, dann neu an, und wiederhole den "
        "Schritt.",
    )
    audited = True


class NotAdmin(AppError):
    code = "not_admin"
    status = 403
    title = Text("Admins only", "Nur für Administratoren")
    detail = Text(
        "Only admins of this installation may do this.", "Das ist Administratoren dieser Installation vorbehalten."
    )
    audited = True


class InsufficientScope(AppError):
    code = "insufficient_scope"
    status = 403
    title = Text("Not within this token's scopes", "Außerhalb der Rechte dieses Tokens")
    detail = Text(
        "This token's scopes do not permit this, or it requires a signed-in person.",
        "Die Rechte dieses Tokens reichen dafür nicht, oder es braucht eine angemeldete Person.",
    )
    audited = True

    def __init__(self, scope: str = "") -> None:
        # RFC 6750, 3.1: names the required scope; omits it if no token suffices.
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
    detail = Text("This address does not support that method.", "Diese Adresse unterstützt diese Methode nicht.")


class TooLarge(AppError):
    code = "too_large"
    status = 413
    title = Text("Too large", "Zu groß")
    detail = Text("The body of this request is too large.", "Der Inhalt dieser Anfrage ist zu groß.")


class IdempotencyConflict(AppError):
    code = "idempotency_conflict"
    status = 409
    title = Text("Key used before", "Schlüssel bereits benutzt")
    detail = Text(
        "This Idempotency-Key was already sent with another request; use a new key.",
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


def sqlstate(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def is_transient(error: Exception) -> bool:
    """Return whether a retry may help: PostgreSQL or Redis is unreachable, starting, overloaded or timing out."""
    if isinstance(error, DBAPIError):
        state = sqlstate(error)
        # Without a statement, connecting or committing failed.
        return error.connection_invalidated or error.statement is None or state.startswith(RETRIABLE_STATES)
    return isinstance(error, OSError | PoolTimeout | RedisError)
