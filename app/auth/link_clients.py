"""Who asks for a link's address with GET: a person's browser, a program of the first version, or what spends nothing.

Mail scanners, previews and pages of other sites load addresses too. Only a client that asks for JSON by name, as
programs of the first version do, may spend a link by loading it.
"""

from starlette.requests import Request

from app.core.errors import AppError, Forbidden
from app.core.i18n import Text
from app.http.dependencies import check_sign_in_origin
from app.http.negotiation import JSON, accept_quality


class NotAcceptable(AppError):
    code = "not_acceptable"
    status = 406
    title = Text("Ask for JSON", "Bitte JSON verlangen")
    detail = Text(
        "This address signs in programs that send “Accept: application/json”. Nothing was done; the link is as it was.",
        "Diese Adresse meldet Programme an, die „Accept: application/json“ senden. Es ist nichts geschehen; der Link "
        "ist, wie er war.",
    )


async def check_program(request: Request) -> None:
    """Raises `NotAcceptable` unless JSON is asked for by name, and `Forbidden` for what a page of another site loads.

    `Accept: application/json` may be sent by any page's script. Where a browser says what it loads this for, it must be
    a script's own request: no image, frame or prefetch.
    """
    await check_sign_in_origin(request)
    if any(kind != "empty" for kind in request.headers.getlist("sec-fetch-dest")):
        raise Forbidden
    if accept_quality(request, JSON) <= 0:
        raise NotAcceptable
