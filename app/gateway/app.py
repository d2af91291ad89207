"""The gateway process: decides each request to a workspace for the proxy, and runs the relay. It shares neither event
loop nor database connections with the API, so API restarts end no websocket.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.accounts.denials import Denials
from app.core import logging
from app.core.errors import MethodNotAllowed, NotFound
from app.core.settings.model import NO_PROXY, Settings
from app.core.settings.reading import load_settings
from app.core.startup import PlainStart, freeze_heap
from app.core.supervise import background_loop, on_shutdown_signal
from app.gateway import decide
from app.gateway.decide import Allow, GatewayContext
from app.gateway.last_activity import Activity
from app.gateway.proxied_request import read_request
from app.gateway.responses import admission, refusal
from app.gateway.token_entries import TokenEntries
from app.gateway.websocket_relay import Relay
from app.health.processes import register
from app.health.service import check, liveness, serving
from app.http import problems
from app.http.middleware import BodyLimitMiddleware, RequestContextMiddleware
from app.http.negotiation import locale_of
from app.http.proxy_headers import ProxyHeadersMiddleware
from app.resources import Resources, start_resources
from app.security.redaction import Redactor
from app.workspaces.jobs.subscriptions import JobSubscriptions

PATH = "/internal/gateway"
MAX_HOST = 255


class Decisions:
    """ASGI middleware: answers the proxy's decision requests before routing, as every request needs one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            response = await _decide(request)
        except Exception as error:
            response = await problems.answer(request, error)
        await response(scope, receive, send)


async def _decide(request: Request) -> Response:
    """Decide a request: 200 forwards it; the client receives any other response unchanged.

    Only a POST may redeem a code, as no intermediary repeats it.
    """
    if request.method not in ("GET", "POST"):
        raise MethodNotAllowed(headers={"Allow": "GET, POST"})
    context: GatewayContext = request.app.state.context
    query = request.scope["query_string"]
    unreachable = parse_qs(query.decode("latin-1")).get("unreachable", [""])[0] if query else ""
    proxied = read_request(request.headers, unreachable=unreachable, repeatable=request.method != "POST")
    answer = await decide.answer(context, proxied)
    if isinstance(answer, Allow):
        request.state.for_proxy = True
        return admission(context.resources.settings, answer)
    return refusal(context.resources.settings, answer, locale_of(request))


async def _tls(request: Request) -> Response:
    """Decide whether a certificate may be issued for this host."""
    context: GatewayContext = request.app.state.context
    domain = request.query_params.get("domain", "")
    async with context.resources.reads() as session:
        if len(domain) > MAX_HOST or not await decide.serves(session, context.resources, domain):
            raise NotFound
    return Response(status_code=204)


async def _livez(_: Request) -> Response:
    found = liveness()
    return JSONResponse(found.model_dump(), 200 if found.status == "ok" else 503)


async def _readyz(request: Request) -> Response:
    context: GatewayContext = request.app.state.context
    readiness = await check(context.resources)
    return JSONResponse(readiness.model_dump(mode="json"), 200 if readiness.ready else 503)


def create_app(settings: Settings | None = None, relay_socket: Path | None = None) -> Starlette:
    """Build the application; reads `settings` from the environment if omitted.

    The relay listens on `relay_socket`, else on a port of RELAY_BIND.
    """
    settings = settings or load_settings()
    logging.configure(pretty=settings.environment == "development", redact=Redactor(settings).redact)
    routes = [
        Route("/internal/tls", _tls, methods=["GET"]),
        Route("/internal/serving", serving, methods=["GET"]),
        Route("/livez", _livez, methods=["GET"]),
        Route("/readyz", _readyz, methods=["GET"]),
    ]
    app = Starlette(routes=routes, lifespan=_lifespan)
    app.state.settings = settings
    app.state.relay = Relay(relay_socket)
    app.state.leaving = False
    problems.install(app)
    app.state.denials = Denials()
    app.state.record_denial = app.state.denials.record_denial
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(Decisions)
    app.add_middleware(RequestContextMiddleware, secure=settings.secure_cookies)
    if settings.trusted_proxies != [NO_PROXY]:
        app.add_middleware(ProxyHeadersMiddleware, trusted=settings.proxies)
    app.add_middleware(PlainStart)
    return app


@asynccontextmanager
async def running(app: Starlette, resources: Resources) -> AsyncIterator[None]:
    """Serve with these resources during the block; at its end every websocket is closed."""
    app.state.resources = resources
    watch = JobSubscriptions(resources.redis, resources.settings.instance, resources.settings.read_connections)
    relay: Relay = app.state.relay
    denials: Denials = app.state.denials
    app.state.watch = watch
    app.state.context = GatewayContext(resources, watch, Activity(), relay, TokenEntries())
    async with watch.running(resources), relay.running(resources), denials.running(resources):
        yield


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    settings: Settings = app.state.settings

    def leave() -> None:
        app.state.leaving = True

    def stop() -> None:
        leave()
        app.state.watch.close()
        app.state.relay.close()

    async with AsyncExitStack() as opened:
        resources = await opened.enter_async_context(start_resources(settings))
        await opened.enter_async_context(running(app, resources))
        registered = background_loop("register", partial(register, resources, "gateway"), essential=False)
        await opened.enter_async_context(registered)
        with on_shutdown_signal(leave, stop, settings.api_leave_seconds):
            freeze_heap()
            yield
