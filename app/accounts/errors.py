"""Errors of accounts, their sessions and their tokens."""

from app.core.errors import AppError
from app.core.i18n import Text

MAX_TOKENS = 50


class NotRefreshed(AppError):
    code = "not_refreshed"
    status = 401
    title = Text("Sign in again", "Bitte neu anmelden")
    detail = Text(
        "The session has ended, or its refresh token was replaced. Sign in again.",
        "Die Sitzung wurde beendet, oder ihr Token ist veraltet. Bitte neu anmelden.",
    )

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


class TooManyTokens(AppError):
    code = "too_many_tokens"
    status = 409
    title = Text("Too many tokens", "Zu viele Tokens")
    detail = Text(
        "This account already has {limit} tokens. Revoke one that is no longer needed.",
        "Dieses Konto hat schon {limit} Tokens. Bitte zuerst eines widerrufen, das nicht mehr gebraucht wird.",
    )
    example = {"limit": MAX_TOKENS}


class TooManyChanges(AppError):
    code = "too_many_changes"
    status = 429
    title = Text("Too many changes", "Zu viele Änderungen")
    detail = Text(
        "Your account has made too many changes within an hour. Nothing was changed; try again later.",
        "Mit deinem Konto gab es binnen einer Stunde zu viele Änderungen. Es wurde nichts geändert; bitte später noch "
        "einmal versuchen.",
    )


class InvalidAddress(ValueError):
    """The text is not an address that Spawner writes to."""


class LastAdmin(AppError):
    code = "last_admin"
    status = 409
    title = Text("Last admin", "Letzter Administrator")
    detail = Text(
        "This is the last active admin, who cannot be deleted, demoted or blocked. Make somebody else an admin first.",
        "Der letzte aktive Administrator kann nicht gelöscht, herabgestuft oder gesperrt werden. Ernenne zuerst einen "
        "anderen.",
    )
    audited = True
