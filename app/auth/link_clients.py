"""Who asks for a link's address with GET: a person's browser, a program of the first version, or what spends nothing.

Mail scanners, previews and pages of other sites load addresses too. Only a client that asks for JSON by name, as
programs of the first version do, may spend a link by loading it.
"""

from starlette.requests import Request

from app.auth.errors import NotAcceptable
from app.core.errors import Forbidden
from app.http.dependencies import check_sign_in_origin
from app.http.negotiation import JSON, accept_quality


async def check_program(request: Request) -> None:
    """Raises `NotAcceptable` unless JSON is asked for by name, and `Forbidden` for what a page of another site loads.

    `Accept: application/json` may be sent by any page's script. Where a browser says what it loads this for, it must be
    a script's own request: no image, frame or prefetch.
    """
    await check_sign_in_origin(request)
    if any(kind != "empty" for kind in request.headers.getlist("sec-fetch-dest")):
        raise Forbidden
    if accept_quality(request.headers, JSON) <= 0:
        raise NotAcceptable
