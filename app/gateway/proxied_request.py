"""A request to a workspace's origin, as described by the proxy."""

from dataclasses import dataclass

from starlette.datastructures import Headers

from app.http.negotiation import accepts_html, is_prefetch
from app.http.patience import read_patience

# Sec-Fetch-Dest of pages within a page.
FRAMES = ("iframe", "frame", "embed", "object", "fencedframe")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxiedRequest:
    """A request to a workspace.

    `authorization` and `protocols` are the values of Authorization and Sec-WebSocket-Protocol; `names` are all header
    names. `site` is Sec-Fetch-Site; `browser`: the client sends such headers. `part`: a subresource or frame of an open
    page; `framed`: a frame. `upgrade`: requests a websocket. `page`: a person would see the response as a page.
    `unreachable`: if not empty, why the proxy got no response after an earlier grant. `repeatable`: the proxy may
    repeat this question. `size`: bytes of its head. `patience`: timeout in seconds for a stalled body; None for no
    limit.
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
        """Whether a person navigates there."""
        return self.page and self.method == "GET"


def read_request(headers: Headers, *, unreachable: str, repeatable: bool) -> ProxiedRequest:
    """Parse the proxy's question."""
    fields: dict[str, list[str]] = {}
    size = 0
    for name, value in headers.raw:
        text = value.decode("latin-1")
        fields.setdefault(name.decode("latin-1"), []).append(text)
        if not name.startswith(b"x-forwarded-"):
            size += len(name) + len(value) + 4

    def first(name: str) -> str | None:
        values = fields.get(name)
        return values[0] if values is not None else None

    def whole(name: str) -> str | None:
        """Join repeated values: the result matches nothing, so clients cannot choose which one counts."""
        values = fields.get(name)
        return ", ".join(values) if values is not None else None

    method, mode = first("x-forwarded-method") or "", first("sec-fetch-mode")
    uri = first("x-forwarded-uri") or ""
    # HTTP/2 and HTTP/3 open websockets with CONNECT.
    upgrade = bool(first("x-forwarded-upgrade")) or method == "CONNECT"
    page = mode == "navigate" if mode is not None else accepts_html(headers)
    dest, site, origin = first("sec-fetch-dest"), whole("sec-fetch-site"), whole("origin")
    return ProxiedRequest(
        method=method,
        host=first("x-forwarded-host") or "",
        uri=uri,
        cookies=tuple(fields.get("cookie", ())),
        authorization=tuple(fields.get("authorization", ())),
        protocols=tuple(fields.get("sec-websocket-protocol", ())),
        names=frozenset(fields),
        origin=origin,
        referrer=whole("referer"),
        site=site,
        # Not the mode alone: programs with a fetch API send it too.
        browser=not (site is None and dest is None and origin is None),
        part=mode is not None and (mode != "navigate" or (dest or "document") != "document"),
        framed=mode == "navigate" and dest in FRAMES,
        upgrade=upgrade,
        page=page and not upgrade and not is_prefetch(headers),
        unreachable=unreachable,
        repeatable=repeatable,
        size=len(uri) + size,
        patience=read_patience(headers),
    )
