"""Errors of accounts, their sessions and their tokens."""

from app.core.errors import AppError
from app.core.i18n import Text

MAX_TOKENS = 50


class NotRefreshed(AppError):
    code = "not_refreshed"
    status = 401
    title = Text("Sign in again", "Bitte neu anmelden")
    detail = Text(
        "There is no session to go on with: it has ended, or its refresh token is an old one. Sign in again.",
        "Es gibt keine Sitzung, die weitergehen könnte: Sie wurde beendet, oder ihr Token ist ein altes. "
        "Bitte neu anmelden.",
    )

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


class TooManyTokens(AppError):
    code = "too_many_tokens"
    status = 409
    title = Text("Too many tokens", "Zu viele Tokens")
    detail = Text(
        "This account has {limit} tokens already. Revoke one that is not needed any more.",
        "Dieses Konto hat schon {limit} Tokens. Bitte zuerst eines widerrufen, das nicht mehr gebraucht wird.",
    )
    example = {"limit": MAX_TOKENS}


class TooManyChanges(AppError):
    code = "too_many_changes"
    status = 429
    title = Text("Too many changes", "Zu viele Änderungen")
    detail = Text(
        "Your account has asked for too many changes within an hour. Nothing was changed; try again later.",
        "Dein Konto hat binnen einer Stunde zu viele Änderungen verlangt. Es wurde nichts geändert; bitte später noch "
        "einmal versuchen.",
    )


class InvalidAddress(ValueError):
    """The text is not an address that Spawner writes to."""


class LastAdmin(AppError):
    code = "last_admin"
    status = 409
    title = Text("The last admin", "Letzter Administrator")
    detail = Text(
        "Nobody else could act as an admin: this one cannot be deleted, demoted or blocked. "
        "Make somebody else an admin first.",
        "Niemand sonst könnte als Administrator handeln: Dieser kann nicht gelöscht, herabgestuft oder gesperrt "
        "werden. Ernenne zuerst einen anderen.",
    )
    audited = True
