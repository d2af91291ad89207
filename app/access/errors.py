"""Errors of sharing."""

from app.core.errors import AppError
from app.core.i18n import Text


class TooManyShares(AppError):
    code = "too_many_shares"
    status = 409
    title = Text("Shared too often", "Zu oft geteilt")
    detail = Text(
        "This workspace has as many shares and links as allowed. Its owner must revoke one first.",
        "Dieser Arbeitsplatz hat so viele Freigaben und Links wie erlaubt. Wem er gehört, muss zuerst eine Freigabe "
        "oder einen Link widerrufen.",
    )


class SharedOrigin(AppError):
    code = "shared_origin"
    status = 409
    title = Text("Sharing is off here", "Teilen ist hier nicht möglich")
    detail = Text(
        "All workspaces of this installation share one address: yours could read and change the workspaces of anybody "
        "who opens it. Sharing is off until the operator gives each workspace its own address.",
        "Alle Arbeitsplätze dieser Installation haben dieselbe Adresse: Deiner könnte die Arbeitsplätze aller, die ihn "
        "öffnen, lesen und ändern. Freigaben gibt es erst, wenn der Betreiber jedem eine eigene Adresse gibt.",
    )


class InvalidShareLink(AppError):
    code = "invalid_share_link"
    status = 400
    title = Text("Link not valid", "Link ungültig")
    detail = Text(
        "This link is not valid: it has expired, was revoked, or is incomplete. Ask its sender for a new one.",
        "Dieser Link ist ungültig: Er ist abgelaufen, wurde widerrufen oder ist unvollständig. Bitte um einen neuen.",
    )
