"""Errors of the catalogue."""

from app.core.errors import AppError
from app.core.i18n import Text


class UnknownTemplate(AppError):
    code = "unknown_template"
    status = 400
    title = Text("Unknown type", "Unbekannter Typ")
    detail = Text("The catalogue has no workspace of this type.", "Der Katalog enthält diesen Typ nicht.")
