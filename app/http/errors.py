"""Errors of requests that reach no route."""

from collections.abc import Mapping
from typing import ClassVar

from app.core.errors import AppError
from app.core.i18n import Text


class HeadersTooLarge(AppError):
    code = "headers_too_large"
    status = 431
    title = Text("Headers too large", "Zu große Kopfzeilen")
    detail = Text(
        "The address and the headers of this request are larger than 64 KB. If that is because of cookies, delete this "
        "site's cookies in your browser.",
        "Adresse und Kopfzeilen dieser Anfrage sind größer als 64 KB. Falls es an Cookies liegt, bitte die Cookies "
        "dieser Website im Browser löschen.",
    )


class RepeatedHeader(AppError):
    code = "repeated_header"
    status = 400
    title = Text("Header sent twice", "Header doppelt gesendet")
    detail = Text(
        "This request has the header {name} more than once. Send it once.",
        "Diese Anfrage enthält den Header {name} mehrmals. Bitte nur einmal senden.",
    )
    example: ClassVar[Mapping[str, object]] = {"name": "authorization"}


class RequestStalled(AppError):
    code = "request_stalled"
    status = 408
    title = Text("Upload timed out", "Zeitüberschreitung beim Hochladen")
    detail = Text(
        "The body of this request stopped arriving, and the request timed out. Send it again.",
        "Der Inhalt dieser Anfrage kam nicht weiter an; die Anfrage wurde abgebrochen. Bitte noch einmal senden.",
    )
