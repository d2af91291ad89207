"""Restricts GET of a link to programs of the first version.

Mail scanners, previews and pages of other sites also load links. Only a client that asks for JSON by name, as those
programs do, may redeem a link with GET.
"""

from starlette.requests import Request

from app.auth.errors import NotAcceptable
from app.core.errors import Forbidden
from app.http.dependencies import check_sign_in_origin
from app.http.negotiation import JSON, accept_quality


async def check_program(request: Request) -> None:
    """Raise `NotAcceptable` unless `Accept` names JSON, and `Forbidden` for requests from other sites' pages.

    Scripts of any page can send `Accept: application/json`. With Fetch Metadata, the request must therefore be a fetch
    of a script: no image, frame or prefetch.
    """
    await check_sign_in_origin(request)
    if any(kind != "empty" for kind in request.headers.getlist("sec-fetch-dest")):
        raise Forbidden
    if accept_quality(request.headers, JSON) <= 0:
        raise NotAcceptable
