"""The API process: `uvicorn app.main:create_app --factory`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import errors, log, openapi
from app.auth.router import router as auth
from app.catalog.router import router as catalog
from app.gateway.router import router as gateway
from app.health.router import router as health
from app.middleware import RequestContext
from app.resources import open_resources
from app.settings import Settings, load_settings
from app.users.router import router as users
from app.web.router import install_pages
from app.workspaces.router import router as workspaces
from app.workspaces.watch import JobWatch


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application; without `settings` they are read from the environment."""
    settings = settings or load_settings()
    log.configure(pretty=settings.environment == "development")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_resources(settings) as resources:
            app.state.resources = resources
            app.state.watch = JobWatch(resources.redis)
            async with app.state.watch.running():
                yield

    app: FastAPI = FastAPIOffline(
        title="Spawner",
        version="1",
        summary="Containers for every person of a team, class or company.",
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        lifespan=lifespan,
    )
    app.state.settings = settings
    errors.install(app)
    for router in (health, auth, users, catalog, workspaces, gateway):
        app.include_router(router)
    install_pages(app)
    openapi.install(app)
    _add_middleware(app, settings)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Outermost last: the request's id and headers are there for everything, errors included."""
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-None-Match"],
            expose_headers=["ETag", "Retry-After", "X-Request-ID"],
        )
    app.add_middleware(RequestContext)
    if settings.trusted_proxies:
        proxies: Any = ProxyHeadersMiddleware
        app.add_middleware(proxies, trusted_hosts=settings.trusted_proxies)
