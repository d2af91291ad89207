"""One request at a workspace's origin, as the proxy describes it."""

from dataclasses import dataclass

from starlette.datastructures import Headers

from app.http.negotiation import accepts_html, is_prefetch
from app.http.patience import read_patience

# What a browser calls a request for a page within another page.
FRAMES = ("iframe", "frame", "embed", "object", "fencedframe")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxiedRequest:
    """A request for a workspace.

    `authorization` and `protocols` are the values of Authorization and Sec-WebSocket-Protocol, `names` those of all
    headers. `site` is its Sec-Fetch-Site; `browser` says that it comes from a browser that says so; `part` that the
    answer is for use within a page that is open, `framed` that this use is a page in a frame. `upgrade` says that it
    wants a websocket; `page` that a person would see the answer as a page; `unreachable`, if it is not empty, that the
    proxy was let through a moment ago, and why no answer came; `repeatable` that the proxy may put this question again
    by itself. `size` are the bytes of its head; `patience` the seconds for which its body may stand still; None sets
    no limit.
    """

    method: str
    host: str
    uri: str
    cookies: tuple[str, ...] = ()
    authorization: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    origin: str | None = None
    referrer: str | None = None
    site: str | None = None
    browser: bool = False
    part: bool = False
    framed: bool = False
    upgrade: bool = False
    page: bool = False
    unreachable: str = ""
    repeatable: bool = False
    size: int = 0
    patience: float | None = None

    @property
    def navigates(self) -> bool:
        """Whether a person goes there."""
        return self.page and self.method == "GET"


def read_request(headers: Headers, *, unreachable: str, repeatable: bool) -> ProxiedRequest:
    """Read the proxy's question."""
    method, mode = headers.get("x-forwarded-method", ""), headers.get("sec-fetch-mode")
    # CONNECT is how HTTP/2 and HTTP/3 open a websocket.
    upgrade = bool(headers.get("x-forwarded-upgrade")) or method == "CONNECT"
    page = mode == "navigate" if mode is not None else accepts_html(headers)
    dest, site, origin = headers.get("sec-fetch-dest"), _whole(headers, "sec-fetch-site"), _whole(headers, "origin")
    return ProxiedRequest(
        method=method,
        host=headers.get("x-forwarded-host", ""),
        uri=headers.get("x-forwarded-uri", ""),
        cookies=tuple(headers.getlist("cookie")),
        authorization=tuple(headers.getlist("authorization")),
        protocols=tuple(headers.getlist("sec-websocket-protocol")),
        names=frozenset(headers.keys()),
        origin=origin,
        referrer=_whole(headers, "referer"),
        site=site,
        # Not the mode alone: programs that fetch as browsers do send that.
        browser=not (site is None and dest is None and origin is None),
        part=mode is not None and (mode != "navigate" or (dest or "document") != "document"),
        framed=mode == "navigate" and dest in FRAMES,
        upgrade=upgrade,
        page=page and not upgrade and not is_prefetch(headers),
        unreachable=unreachable,
        repeatable=repeatable,
        size=len(headers.get("x-forwarded-uri", ""))
        + sum(len(name) + len(value) + 4 for name, value in headers.raw if not name.startswith(b"x-forwarded-")),
        patience=read_patience(headers),
    )


def _whole(headers: Headers, name: str) -> str | None:
    """A header's value; of several one that is none of them, so that nobody can choose which is read."""
    values = headers.getlist(name)
    return ", ".join(values) if values else None
