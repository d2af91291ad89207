"""An HTTP client for the stack's own addresses."""

import httpx


class _Loopback(httpx.HTTPTransport):
    """Reaches `localhost` and every name below it at 127.0.0.1, as browsers do and Python's resolver does not."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if host == "localhost" or host.endswith(".localhost"):
            url = request.url.copy_with(host="127.0.0.1")
            request = httpx.Request(
                request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
            )
        return super().handle_request(request)


def client(seconds: float, *, socket: str | None = None) -> httpx.Client:
    """Make a client with one deadline for every part of a request. It ignores proxies: all it calls is local.

    With `socket` it reaches a Unix socket, whatever host is named.
    """
    transport = _Loopback() if socket is None else httpx.HTTPTransport(uds=socket)
    return httpx.Client(transport=transport, timeout=seconds, trust_env=False)
