"""Middleware of every request: request id, log line, response headers, limits."""

import asyncio
import os
import time
from collections.abc import Iterable

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.audit import trail
from app.core.logging import bind_anew
from app.http.errors import HeadersTooLarge, RepeatedHeader
from app.http.patience import read_patience
from app.http.problems import render, unexpected

log = structlog.get_logger("app.access")

# Pages load only our own files and run no inline script; nothing may frame them.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Browser features that our pages do not use.
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

NO_FRAMES = b"frame-ancestors 'none'"

# Bytes. Request bodies here hold only addresses, tokens and forms.
MAX_BODY = 64 * 1024
# Bytes of URL and headers. The proxy's limit is higher, so that this service can explain the error.
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
# With TLS: browsers use only TLS for two years, on subdomains too.
STRICT_TRANSPORT = "max-age=63072000; includeSubDomains"


def head_size(scope: Scope) -> int:
    """Return the bytes of the request line's URL and the headers."""
    address = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    return address + sum(len(name) + len(value) + 4 for name, value in scope["headers"])


# Frequent probes are logged only if they fail.
QUIET = ("/internal/gateway", "/internal/serving", "/livez", "/readyz")


def begin_request(scope: Scope) -> str:
    """Give the request an id, and bind id and client address to log lines and audit trail."""
    request_id = os.urandom(8).hex()
    scope.setdefault("state", {})["request_id"] = request_id
    address = scope["client"][0] if scope["client"] else ""
    bind_anew(request_id=request_id, **({"client": address} if address else {}))
    trail.origin.set(trail.Origin(address=address, request_id=request_id))
    return request_id


class RequestContextMiddleware:
    """ASGI middleware: binds `request_id`; logs method, path, status and time. Queries may hold tokens and are not
    logged.

    `secure` means that browsers use TLS. Responses with the request state `for_proxy` reach no browser and are not
    changed.
    """

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self.app = app
        headers = {**HEADERS, **({"Strict-Transport-Security": STRICT_TRANSPORT} if secure else {})}
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

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
        """Add the headers that the response has not set itself."""
        cookie_lines = ((b"set-cookie", cookie.encode("latin-1")) for cookie in cookies)
        headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode()), *cookie_lines]
        own = dict(headers)
        headers += [header for header in self._headers if header[0] not in own]
        # If framing is allowed, only CSP can name the allowed origins; X-Frame-Options cannot.
        if NO_FRAMES not in own.get(b"content-security-policy", NO_FRAMES):
            headers = [header for header in headers if header[0] != b"x-frame-options"]
        message["headers"] = headers


# Headers allowed once: with duplicates, proxies and servers may read different ones. Cookie headers may repeat and are
# checked by name; all Origin and Sec-Fetch-Site headers must agree, see `app.http.dependencies`.
SINGLE = frozenset({b"authorization", b"content-type", b"host", b"idempotency-key", b"last-event-id"})


class BodyLimitMiddleware:
    """ASGI middleware: limits request size and body stalls, and answers unexpected errors.

    Requests of the proxy below `/internal` contain a client's headers, which the gateway limits itself. Stands inside
    CORS, so that allowed origins can read these errors.
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
    """Limit the size and stalls of a body. Messages after its end have no timeout."""
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
    """Return the first duplicated single header. Workspaces check their own clients' headers."""
    if scope["path"].startswith("/internal/"):
        return None
    seen: set[bytes] = set()
    for name, _ in scope["headers"]:
        if name in SINGLE:
            if name in seen:
                return str(name.decode("latin-1"))
            seen.add(name)
    return None
