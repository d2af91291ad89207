"""The API process: `python -m app`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from app.access.owner_router import router as owner_shares
from app.access.router import router as shares
from app.accounts.denials import Denials
from app.accounts.router import router as auth_sessions
from app.admin import audit_router, jobs_router, users_router, workspaces_router
from app.admin.access_router import router as admin_access
from app.admin.invitations_router import router as invitations
from app.admin.router import router as admin
from app.audit.db_grants import say_whether_protected
from app.auth.me_router import router as users
from app.auth.router import router as auth
from app.core import logging
from app.core.settings.model import NO_PROXY, Settings
from app.core.settings.reading import load_settings
from app.core.startup import PlainStart, freeze_heap
from app.core.supervise import background_loop, on_shutdown_signal
from app.health.processes import register
from app.health.router import router as health
from app.http import direct, problems, validation
from app.http.included import included
from app.http.middleware import BodyLimitMiddleware, RequestContextMiddleware
from app.http.proxy_headers import ProxyHeadersMiddleware
from app.http.turns import TurnsMiddleware
from app.openapi import document
from app.resources import start_resources
from app.security.redaction import Redactor
from app.web.router import install_pages
from app.workspaces.jobs.router import router as jobs
from app.workspaces.jobs.streams_router import router as streams
from app.workspaces.jobs.subscriptions import JobSubscriptions
from app.workspaces.router import router as workspaces
from app.workspaces.templates_router import router as catalog
from app.workspaces.volumes_router import router as volumes

logger = structlog.get_logger(__name__)

ROUTERS = (
    *(health, auth, auth_sessions, users, catalog, workspaces, jobs, streams, volumes, owner_shares, shares),
    *(admin, admin_access, invitations),
    *(part.router for part in (users_router, workspaces_router, jobs_router, audit_router)),
)
ROUTES = included(*ROUTERS)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application; reads `settings` from the environment if omitted."""
    settings = settings or load_settings()
    logging.configure(pretty=settings.environment == "development", redact=Redactor(settings).redact)

    documented = settings.docs == "open"
    app = FastAPI(
        title="Spawner",
        version="1",
        summary="Containers for every person of a team, class or company.",
        description=document.DESCRIPTION,
        openapi_tags=document.TAGS,
        openapi_url="/openapi.json" if documented else None,
        docs_url=None,  # FastAPI's page loads scripts from another server; app.web.docs has our own
        redoc_url=None,
        lifespan=_lifespan,
        # It would ask three providers at each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    app.state.leaving = False
    problems.install(app)
    validation.install(app)
    app.state.denials = Denials()
    app.state.record_denial = app.state.denials.record_denial
    app.router.routes.extend(ROUTES)
    install_pages(app, documented=documented)
    document.install(app)
    _add_middleware(app, settings)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    _warn(app.state.settings)
    async with start_resources(app.state.settings) as resources:
        app.state.resources = resources
        app.state.watch = JobSubscriptions(
            resources.redis, resources.settings.instance, resources.settings.read_connections
        )
        watch: JobSubscriptions = app.state.watch

        def leave() -> None:
            app.state.leaving = True

        def stop() -> None:
            leave()
            watch.close()

        protected = asyncio.create_task(say_whether_protected(resources.engine))
        try:
            denials: Denials = app.state.denials
            registered = background_loop("register", partial(register, resources, "api"), essential=False)
            async with watch.running(resources), denials.running(resources), registered:
                with on_shutdown_signal(leave, stop, app.state.settings.api_leave_seconds):
                    freeze_heap()
                    yield
        finally:
            # Ends by itself: a cancelled connection attempt would leak.
            await protected


def _warn(settings: Settings) -> None:
    """Log at start what this installation lacks."""
    if settings.environment == "production" and not settings.host_mode:
        logger.warning("workspaces_share_an_origin", remedy="put {route} into the host of SPAWNER_WORKSPACE_URL")
    for concern in settings.concerns:
        logger.warning("setting_is_weak", concern=concern)


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Add the middleware, outermost last: request id and headers cover everything, errors included."""
    app.add_middleware(direct.DirectRoutesMiddleware, routes=direct.direct_routes(ROUTERS))
    app.add_middleware(TurnsMiddleware, at_once=settings.write_connections)
    app.add_middleware(BodyLimitMiddleware)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID"],
            expose_headers=["ETag", "Retry-After", "X-Request-ID"],
        )
    app.add_middleware(RequestContextMiddleware, secure=settings.secure_cookies)
    if settings.trusted_proxies != [NO_PROXY]:
        app.add_middleware(ProxyHeadersMiddleware, trusted=settings.proxies)
    app.add_middleware(PlainStart)
