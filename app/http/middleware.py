"""What happens around every request: its id, its log line, and the headers that every answer carries."""

import asyncio
import time
from collections.abc import Iterable
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.audit import trail
from app.http.errors import HeadersTooLarge, RepeatedHeader
from app.http.patience import read_patience
from app.http.problems import render, unexpected

log = structlog.get_logger("app.access")

# Pages load only our own files and run no inline script; nothing may frame them.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# What browsers could offer a page, and none of ours asks for.
POWERS = (
    "accelerometer",
    "autoplay",
    "camera",
    "display-capture",
    "encrypted-media",
    "fullscreen",
    "geolocation",
    "gyroscope",
    "hid",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "picture-in-picture",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
    "usb",
    "xr-spatial-tracking",
)

# Bytes. Addresses, tokens and forms are all that anybody sends here.
MAX_BODY = 64 * 1024
# The same for address and headers; the proxy lets more in, so that a person with too many cookies can be told.
MAX_HEAD = 64 * 1024

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Origin-Agent-Cluster": "?1",
    "X-Permitted-Cross-Domain-Policies": "none",
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in POWERS),
    "Content-Security-Policy": PAGE_POLICY,
    "Cache-Control": "no-store",
}
# Where browsers come over TLS: they come no other way for two years, to hosts below this one neither.
STRICT_TRANSPORT = "max-age=63072000; includeSubDomains"


def head_size(scope: Scope) -> int:
    """Bytes of a request's address and headers, as they are written."""
    address = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    return address + sum(len(name) + len(value) + 4 for name, value in scope["headers"])


# What is asked all the time is logged where it fails.
QUIET = ("/internal/gateway", "/internal/serving", "/livez", "/readyz")


def begin_request(scope: Scope) -> str:
    """Give the request an id, and bind it with the client's address to the log's lines and to the audit trail."""
    request_id = uuid4().hex[:16]
    scope.setdefault("state", {})["request_id"] = request_id
    address = scope["client"][0] if scope["client"] else ""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id, **({"client": address} if address else {}))
    trail.origin.set(trail.Origin(address=address, request_id=request_id))
    return request_id


class RequestContextMiddleware:
    """ASGI middleware: binds `request_id`, logs method, path (no query: it may hold a token), status and time.

    `secure` says that browsers come over TLS. An answer whose request has the state `for_proxy` reaches no browser, and
    is sent as it is.
    """

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self.app = app
        self.headers = {**HEADERS, **({"Strict-Transport-Security": STRICT_TRANSPORT} if secure else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = begin_request(scope)
        started = time.perf_counter()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if not scope["state"].get("for_proxy"):
                    self._complete(message, request_id, scope["state"].get("set_cookies", ()))
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            if scope["path"] not in QUIET or status >= 500:
                milliseconds = round((time.perf_counter() - started) * 1000, 1)
                log.info("request", method=scope["method"], path=scope["path"], status=status, ms=milliseconds)

    def _complete(self, message: Message, request_id: str, cookies: Iterable[str]) -> None:
        """Add to an answer the headers that it did not set itself."""
        headers = MutableHeaders(scope=message)
        headers["X-Request-ID"] = request_id
        for cookie in cookies:
            headers.append("Set-Cookie", cookie)
        for name, value in self.headers.items():
            headers.setdefault(name, value)
        # A page that may be framed says by whom in its policy, which this older header cannot.
        if "frame-ancestors 'none'" not in headers["Content-Security-Policy"]:
            del headers["X-Frame-Options"]


# Headers of which a request has one: of two, each part of a chain reads another. Cookies may come in several lines, and
# are judged name by name; of Origin and Sec-Fetch-Site all must agree, see `app.accounts.dependencies`.
SINGLE = frozenset({b"authorization", b"content-type", b"host", b"idempotency-key", b"last-event-id"})


class BodyLimitMiddleware:
    """Innermost ASGI middleware: bounds what a request may hold and how long its body may stand still, and answers the
    errors that nobody expected.

    What the proxy asks below `/internal` holds the head of somebody's request, which the gateway bounds itself.
    It stands inside of CORS, so that a page of another origin can read those answers too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if head_size(scope) > MAX_HEAD and not scope["path"].startswith("/internal/"):
            await render(Request(scope), HeadersTooLarge())(scope, receive, send)
            return
        repeated = _repeated(scope)
        if repeated is not None:
            await render(Request(scope), RepeatedHeader(name=repeated))(scope, receive, send)
            return
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, _bounded(receive, read_patience(Headers(scope=scope))), answer)
        except Exception as error:
            if started:
                raise
            await unexpected(Request(scope), error)(scope, receive, send)


def _bounded(receive: Receive, patience: float | None) -> Receive:
    """Reads a body that is small and keeps coming. What comes after its end may take as long as it likes."""
    read, whole = 0, False

    async def bounded() -> Message:
        nonlocal read, whole
        try:
            async with asyncio.timeout(None if whole else patience):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408) from None
        read, whole = read + len(message.get("body", b"")), not message.get("more_body", False)
        if read > MAX_BODY:
            raise HTTPException(413)
        return message

    return bounded


def _repeated(scope: Scope) -> str | None:
    """The first single header that comes again. What a workspace's client sends is the workspace's to judge."""
    if scope["path"].startswith("/internal/"):
        return None
    seen: set[bytes] = set()
    for name, _ in scope["headers"]:
        if name in SINGLE:
            if name in seen:
                return str(name.decode("latin-1"))
            seen.add(name)
    return None
