"""What the reverse proxy asks. It alone reaches these addresses: on every site of its own `/internal/*` is 404."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse
from starlette.datastructures import Headers

from app.deps import ActivityDep, LocaleDep, RelayDep, ResourcesDep, SessionDep, WatchDep
from app.errors import NotFound
from app.gateway import pages, service
from app.gateway.cookies import Cookie
from app.gateway.service import Answer, Desk, Pass, Redirect, Visit
from app.i18n import Locale
from app.settings import Settings

router = APIRouter(prefix="/internal", include_in_schema=False)


@router.get("/gateway")
async def gateway(
    request: Request,
    resources: ResourcesDep,
    watch: WatchDep,
    activity: ActivityDep,
    relay: RelayDep,
    locale: LocaleDep,
    unreachable: bool = False,
) -> Response:
    """May this request pass, and where to? 200 says yes; the client gets every other answer as it is."""
    answer = await service.answer(Desk(resources, watch, activity, relay), _visit(request, unreachable=unreachable))
    return _response(resources.settings, answer, locale)


@router.get("/tls", status_code=204)
async def tls(domain: Annotated[str, Query(max_length=255)], session: SessionDep, resources: ResourcesDep) -> None:
    """May a certificate be asked for this host?"""
    if not await service.serves(session, resources, domain):
        raise NotFound


def _visit(request: Request, *, unreachable: bool) -> Visit:
    headers = request.headers
    method, mode = headers.get("x-forwarded-method", ""), headers.get("sec-fetch-mode")
    # CONNECT is how HTTP/2 and HTTP/3 open a websocket.
    upgrade = bool(headers.get("x-forwarded-upgrade")) or method == "CONNECT"
    page = mode == "navigate" if mode is not None else "text/html" in headers.get("accept", "")
    return Visit(
        method=method,
        host=headers.get("x-forwarded-host", ""),
        uri=headers.get("x-forwarded-uri", ""),
        cookies=tuple(headers.getlist("cookie")),
        origin=_whole(headers, "origin"),
        site=_whole(headers, "sec-fetch-site"),
        part=mode is not None and (mode != "navigate" or headers.get("sec-fetch-dest", "document") != "document"),
        upgrade=upgrade,
        navigates=method == "GET" and page and not upgrade,
        unreachable=unreachable,
    )


def _whole(headers: Headers, name: str) -> str | None:
    """A header's value; of several one that is none of them, so that nobody can choose which is read."""
    values = headers.getlist(name)
    return ", ".join(values) if values else None


def _response(settings: Settings, answer: Answer, locale: Locale) -> Response:
    if isinstance(answer, Pass):
        return Response(
            headers={
                "X-Upstream": answer.upstream,
                "X-Strip-Prefix": answer.prefix,
                "X-Base-Path": answer.base,
                "X-Spawner-User": answer.user,
                "X-Spawner-Cookie": answer.cookie,
                "X-Spawner-Ticket": answer.ticket,
            }
        )
    if isinstance(answer, Redirect):
        response = Response(status_code=answer.status, headers={"Location": answer.location})
        if answer.cookie is not None:
            _set(response, answer.cookie)
        return response
    page = pages.render(settings, answer, locale)
    headers = {**answer.error.headers, "Content-Security-Policy": pages.POLICY}
    return HTMLResponse(page, answer.error.status, headers=headers)


def _set(response: Response, cookie: Cookie) -> None:
    response.set_cookie(
        cookie.name,
        cookie.value,
        max_age=cookie.seconds or None,
        path=cookie.path,
        secure=cookie.secure,
        httponly=True,
        samesite="lax",
    )
