"""Errors of sign-in."""

from app.core.errors import AppError
from app.core.i18n import Text


class InvalidLink(AppError):
    code = "invalid_link"
    status = 400
    title = Text("Link not valid", "Link ungültig")
    detail = Text(
        "This link is not valid: it was used already, has expired, or was cut short. Ask for a new one.",
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
    title = Text("Ask for JSON", "Bitte JSON verlangen")
    detail = Text(
        "This address signs in programs that send “Accept: application/json”. Nothing was done; the link is as it was.",
        "Diese Adresse meldet Programme an, die „Accept: application/json“ senden. Es ist nichts geschehen; der Link "
        "ist, wie er war.",
    )


class InvalidCode(AppError):
    code = "invalid_code"
    status = 400
    title = Text("Code not valid", "Code ungültig")
    detail = Text(
        "This code is not valid here: it was mistyped, used, has expired, or was asked for in another browser. "
        "After five wrong ones only the link in the mail is left.",
        "Dieser Code ist hier nicht gültig: Er ist vertippt, benutzt, abgelaufen oder wurde in einem anderen Browser "
        "angefordert. Nach fünf falschen bleibt nur der Link in der Mail.",
    )


class HasAccount(AppError):
    code = "has_account"
    status = 409
    title = Text("Account exists", "Konto vorhanden")
    detail = Text(
        "This address has an account already; its owner can sign in.",
        "Diese Adresse hat schon ein Konto; wem sie gehört, kann sich anmelden.",
    )


class ClaimLost(Exception):
    """Another worker has claimed the request, or it has ended."""
