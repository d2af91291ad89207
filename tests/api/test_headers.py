"""Whatever answers, of every route and of none, carries the same security headers, no more and no fewer."""

import re

import httpx
import pytest
from fastapi import FastAPI

from app.core.settings.model import Settings
from app.models import JobState
from app.resources import Resources
from tests.api.conftest import NO_DATABASE, Scene, serving
from tests.api.provoke import provoke
from tests.api.routes import addresses
from tests.api.streaming import make_job

OURS = "https://app.example.org"
PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A page of its own, at another origin than our files.
GATEWAY = re.compile(
    r"default-src 'none'; style-src 'sha256-[\w+/=]{44}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
POWERS = (
    "accelerometer=(), autoplay=(), camera=(), display-capture=(), encrypted-media=(), fullscreen=(), geolocation=(), "
    "gyroscope=(), hid=(), magnetometer=(), microphone=(), midi=(), payment=(), picture-in-picture=(), "
    "publickey-credentials-get=(), screen-wake-lock=(), serial=(), usb=(), xr-spatial-tracking=()"
)
SNAPSHOT = {
    "cache-control": "no-store",
    "content-security-policy": PAGE,
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "origin-agent-cluster": "?1",
    "permissions-policy": POWERS,
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-permitted-cross-domain-policies": "none",
}
# What says something of this answer alone. Whatever else turns up has to be in the snapshot.
ORDINARY = {
    *("access-control-allow-headers", "access-control-allow-methods", "access-control-allow-origin"),
    *("access-control-expose-headers", "access-control-max-age", "accept-ranges", "allow", "content-language"),
    *(
        "content-disposition",
        "content-length",
        "content-type",
        "etag",
        "hx-redirect",
        "last-modified",
        "location",
        "retry-after",
    ),
    *("set-cookie", "vary", "www-authenticate", "x-request-id"),
}


def check(answer: httpx.Response, **other: str) -> None:
    place = f"{answer.request.method} {answer.request.url} {answer.status_code}"
    found = {name: value for name, value in answer.headers.items() if name not in ORDINARY}
    if GATEWAY.fullmatch(found["content-security-policy"]):
        found["content-security-policy"] = PAGE
    assert found == {**SNAPSHOT, **other}, place
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"]), place


@pytest.mark.parametrize("who", ["nobody", "admin"])
async def test_every_route_answers_with_these_headers(scene: Scene, app: FastAPI, who: str) -> None:
    signed_in = {"nobody": {}, "admin": scene.admin.headers}[who]
    for method, path in addresses(app):
        for accept in ("*/*", "text/html"):
            check(await scene.client.request(method, path, headers={"Accept": accept, **signed_in}))


async def test_every_error_answers_with_these_headers(scene: Scene, app: FastAPI) -> None:
    @app.get("/api/crash")
    async def crash() -> None:
        raise RuntimeError

    ask, json = scene.client.request, {"Content-Type": "application/json"}
    for accept in ("*/*", "text/html"):
        headers = {"Accept": accept}
        seen = [
            await ask("GET", "/nowhere", headers=headers),
            await ask("GET", "/api/nowhere", headers=headers),
            await ask("GET", "/static/nowhere", headers=headers),
            await ask("GET", "/static/%2e%2e/rendering.py", headers=headers),
            await ask("PATCH", "/sign-in", headers=headers),
            await ask("OPTIONS", "/api/user/me", headers=headers),
            await ask("HEAD", "/api/user/me", headers=headers),
            await ask("GET", "/api/user/me", headers=headers),
            await ask("GET", "/api/admin/users", headers={**headers, **scene.alice.headers}),
            await ask("POST", "/api/auth/login", content=b" " * 70_000, headers={**headers, **json}),
            await ask("POST", "/api/auth/login", content=b"{", headers={**headers, **json}),
            await ask("GET", "/api/crash", headers=headers),
        ]
        for answer in seen:
            check(answer)
        # A browser without a session is sent to sign in; the API and scripts are told so.
        assert [answer.status_code for answer in seen] == [404, 404, 404, 404, 405, 405, 405, 401, 403, 413, 400, 500]
    away = await scene.without_database()
    check(await away.get("/api/user/me", headers=scene.alice.headers))


async def test_streams_and_redirects_answer_with_these_headers(scene: Scene) -> None:
    job = await make_job(scene.resources, scene.alice.user, JobState.SUCCEEDED)
    events = await scene.client.get(f"/api/jobs/{job.id}/events", headers=scene.alice.headers)
    assert events.headers["Content-Type"].startswith("text/event-stream")
    assert events.headers.pop("X-Accel-Buffering") == "no"
    check(events)
    check(moved := await provoke(scene, ("verify_login", 303)))
    assert moved.status_code == 303


async def test_files_may_be_kept_and_carry_the_rest(client: httpx.AsyncClient) -> None:
    for path in ("/static/app.js", "/static-docs/swagger-ui-bundle.js"):
        for method in ("GET", "HEAD"):
            check(await client.request(method, path), **{"cache-control": "no-cache"})
    versioned = await client.get("/static/app.js?v=1")
    check(versioned, **{"cache-control": "public, max-age=31536000, immutable"})
    unchanged = await client.get("/static/app.js", headers={"If-None-Match": versioned.headers["ETag"]})
    assert unchanged.status_code == 304
    check(unchanged, **{"cache-control": "no-cache"})


async def test_answers_to_other_origins_carry_them_too(settings: Settings, resources: Resources) -> None:
    preflight = {"Origin": OURS, "Access-Control-Request-Method": "POST"}
    changed = settings.model_copy(update={"cors_origins": [OURS], "database_url": NO_DATABASE})
    async with serving(changed) as client:
        check(await client.options("/api/user/me", headers=preflight))
        check(await client.options("/api/user/me", headers={**preflight, "Origin": "https://evil.example"}))
        check(await client.get("/api/user/me", headers={"Origin": OURS}))
        check(await client.get("/api/user/me", headers={"Origin": OURS, "Authorization": "Bearer x"}))


async def test_over_tls_browsers_are_told_to_come_no_other_way(settings: Settings) -> None:
    strict = "max-age=63072000; includeSubDomains"
    async with serving(settings.model_copy(update={"public_url": "https://spawner.example.org"})) as client:
        for path in ("/livez", "/nowhere", "/sign-in"):
            check(await client.get(path), **{"strict-transport-security": strict})


async def test_the_documentation_can_be_closed(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"docs": "closed"})) as client:
        for path in ("/docs", "/openapi.json", "/static-docs/swagger-ui-bundle.js", "/docs/oauth2-redirect", "/redoc"):
            answer = await client.get(path)
            assert answer.status_code == 404, path
            check(answer)
        assert (await client.get("/livez")).status_code == 200
