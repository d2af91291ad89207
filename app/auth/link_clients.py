"""Who asks for a link's address with GET: a person's browser, a program of the first version, or what spends nothing.

Mail scanners, previews and pages of other sites load addresses too. Only a client that asks for JSON by name, as
programs of the first version do, may spend a link by loading it.
"""

from starlette.requests import Request

from app.core.i18n import Text
from app.deps import check_sign_in_origin
from app.http.problems import AppError, Forbidden

HTML = ("text/html", "text/*", "application/xhtml+xml")
JSON = ("application/json",)
LONGEST = 1000


class NotAcceptable(AppError):
    code = "not_acceptable"
    status = 406
    title = Text("Ask for JSON", "Bitte JSON verlangen")
    detail = Text(
        "This address signs in programs that send “Accept: application/json”. Nothing was done; the link is as it was.",
        "Diese Adresse meldet Programme an, die „Accept: application/json“ senden. Es ist nichts geschehen; der Link "
        "ist, wie er war.",
    )


def navigates(request: Request) -> bool:
    """Whether a person's browser opens this address, or something that acts like one."""
    if "navigate" in request.headers.getlist("sec-fetch-mode"):
        return True
    return _quality(request, HTML) > _quality(request, JSON)


async def check_program(request: Request) -> None:
    """Raises `NotAcceptable` unless JSON is asked for by name, and `Forbidden` for what a page of another site loads.

    `Accept: application/json` may be sent by any page's script. Where a browser says what it loads this for, it must be
    a script's own request: no image, frame or prefetch.
    """
    await check_sign_in_origin(request)
    if any(kind != "empty" for kind in request.headers.getlist("sec-fetch-dest")):
        raise Forbidden
    if _quality(request, JSON) <= 0:
        raise NotAcceptable


def _quality(request: Request, kinds: tuple[str, ...]) -> float:
    """The highest weight that the client gives one of these media ranges by name; 0 where it names none."""
    accepted = ",".join(request.headers.getlist("accept"))[:LONGEST].lower()
    parts = (part.partition(";") for part in accepted.split(","))
    return max((_weight(parameters) for kind, _, parameters in parts if kind.strip() in kinds), default=0.0)


def _weight(parameters: str) -> float:
    """The weight among a media range's parameters (RFC 9110, 12.4.2); one that cannot be read counts as 1."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                break
    return 1.0
