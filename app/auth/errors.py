"""Errors of sign-in."""

from app.core.errors import AppError
from app.core.i18n import Text


class InvalidLink(AppError):
    code = "invalid_link"
    status = 400
    title = Text("Link not valid", "Link ungültig")
    detail = Text(
        "This link is not valid: it was already used, has expired, or is incomplete. Request a new one.",
        "Dieser Link ist ungültig: Er wurde schon benutzt, ist abgelaufen oder unvollständig. "
        "Bitte einen neuen anfordern.",
    )


class Blocked(AppError):
    code = "blocked"
    status = 403
    title = Text("Account blocked", "Konto gesperrt")
    detail = Text(
        "This account is blocked. Ask your operator.",
        "Dieses Konto ist gesperrt. Bitte an den Betreiber wenden.",
    )


class NotAcceptable(AppError):
    code = "not_acceptable"
    status = 406
    title = Text("Accept JSON", "JSON anfordern")
    detail = Text(
        "This address signs in programs that send “Accept: application/json”. The link was not used and stays valid.",
        "Diese Adresse meldet Programme an, die „Accept: application/json“ senden. Der Link wurde nicht benutzt und "
        "bleibt gültig.",
    )


class InvalidCode(AppError):
    code = "invalid_code"
    status = 400
    title = Text("Code not valid", "Code ungültig")
    detail = Text(
        "This code is not valid here: it was mistyped, already used, has expired, or was requested in another browser. "
        "After five wrong codes only the link in the mail works.",
        "Dieser Code ist hier nicht gültig: Er ist vertippt, schon benutzt, abgelaufen oder wurde in einem anderen "
        "Browser angefordert. Nach fünf falschen Codes gilt nur noch der Link in der Mail.",
    )


class HasAccount(AppError):
    code = "has_account"
    status = 409
    title = Text("Account exists", "Konto vorhanden")
    detail = Text(
        "This address already has an account; its owner can sign in.",
        "Zu dieser Adresse gibt es schon ein Konto; wem sie gehört, kann sich anmelden.",
    )


class ClaimLost(Exception):
    """Another worker has claimed the request, or it has ended."""
