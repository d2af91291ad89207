"""Errors of tokens and rate limits."""

from app.core.errors import AppError
from app.core.i18n import Text


class RateLimited(AppError):
    code = "rate_limited"
    status = 429
    title = Text("Too many requests", "Zu viele Anfragen")
    detail = Text(
        "No further mail is sent to this address for now. If it can sign in here, use the newest mail "
        "of the last hour, whoever requested it: its link is valid again.",
        "An diese Adresse geht vorerst keine weitere Mail. Wenn sie sich hier anmelden kann, nimm die neueste Mail der "
        "letzten Stunde, wer auch immer sie angefordert hat: Ihr Link gilt wieder.",
    )


class ClientRateLimited(AppError):
    code = "rate_limited_client"
    status = 429
    title = Text("Too many requests from this place", "Zu viele Anfragen von diesem Ort")
    detail = Text(
        "Too many links were requested from this place, which may be a whole network. No mail was sent. "
        "Try again later, or ask your operator to allow more.",
        "Von diesem Ort, vielleicht einem ganzen Netz, wurden zu viele Links angefordert. Es wurde keine Mail "
        "verschickt. Versuche es später noch einmal, oder bitte den Betreiber, mehr zu erlauben.",
    )


class InvalidToken(Exception):
    """The token is foreign or expired."""
