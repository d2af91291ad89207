"""Decisions as responses to the proxy."""

from collections.abc import Sequence

from starlette.responses import HTMLResponse, Response

from app.catalog.placeholders import MAX_HEADERS
from app.core.i18n import Locale
from app.core.settings.model import Settings
from app.gateway import error_pages
from app.gateway.decide import Allow, ErrorPage, Redirect

# The proxy reads this many numbered headers; unused ones name a header to remove.
_UNUSED = [
    (
        (b"x-spawner-name-%d" % number, b"X-Spawner-Unused"),
        (b"x-spawner-value-%d" % number, b""),
        (b"x-spawner-without-%d" % number, b"X-Spawner-Unused"),
    )
    for number in range(1, MAX_HEADERS + 1)
]


def admission(settings: Settings, answer: Allow) -> Response:
    """Build the response that forwards a request. Only the proxy reads it."""
    # The proxy counts requests in flight by the container's address; the relay is dialled by its whole address.
    host, _, port = ("", "", "") if answer.ticket else answer.upstream.rpartition(":")
    fields = (
        (b"x-upstream", answer.upstream),
        (b"x-upstream-host", host.strip("[]")),
        (b"x-upstream-port", port),
        (b"x-strip-prefix", answer.prefix),
        (b"x-base-path", answer.base),
        (b"x-spawner-user", answer.user),
        (b"x-spawner-cookie", answer.cookie),
        (b"x-spawner-authorization", answer.authorization),
        (b"x-spawner-clean-query", "yes" if answer.clean_query else ""),
        (b"x-spawner-ticket", answer.ticket),
        (b"x-spawner-tier", answer.tier),
        (b"x-spawner-frames", " ".join(settings.frame_ancestors)),
    )
    response = Response()
    response.raw_headers = [
        *((name, value.encode("latin-1")) for name, value in fields),
        *_added(answer.headers),
        (b"content-length", b"0"),
    ]
    return response


def refusal(settings: Settings, answer: Redirect | ErrorPage, locale: Locale) -> Response:
    """Build the response for the client: a redirect, or the error page."""
    if isinstance(answer, Redirect):
        response = Response(status_code=answer.status, headers={"Location": answer.location})
        if answer.cookie is not None:
            response.headers["Set-Cookie"] = answer.cookie.header()
        return response
    page = error_pages.render(settings, answer, locale)
    headers = {**answer.error.headers, "Content-Security-Policy": error_pages.policy(settings, answer)}
    refused = HTMLResponse(page, answer.error.status, headers=headers)
    for cookie in answer.cookies:
        refused.headers.append("Set-Cookie", cookie)
    return refused


def _added(headers: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Number the added headers for the proxy. A header without value is named again, for removal."""
    named = [
        field
        for number, (name, value) in enumerate(headers, start=1)
        for field in (
            (b"x-spawner-name-%d" % number, name.encode("latin-1")),
            (b"x-spawner-value-%d" % number, value.encode("latin-1")),
            (b"x-spawner-without-%d" % number, b"" if value else name.encode("latin-1")),
        )
    ]
    return named + [field for slot in _UNUSED[len(headers) :] for field in slot]
