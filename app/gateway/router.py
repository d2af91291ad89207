"""What the reverse proxy asks. It alone reaches these addresses: on every site of its own `/internal/*` is 404."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

from app.catalog.placeholders import MAX_HEADERS
from app.core.errors import NotFound, Unavailable
from app.core.i18n import Locale
from app.core.settings.model import Settings
from app.gateway import decide, error_pages
from app.gateway.decide import Allow, Answer, GatewayContext, Redirect
from app.gateway.dependencies import ActivityDep, RelayDep, TokenEntriesDep
from app.gateway.proxied_request import read_request
from app.http.dependencies import LocaleDep, ReadSessionDep, ResourcesDep
from app.workspaces.dependencies import WatchDep

router = APIRouter(prefix="/internal", include_in_schema=False)


@router.api_route("/gateway", methods=["GET", "POST"])
async def gateway(
    request: Request,
    resources: ResourcesDep,
    watch: WatchDep,
    activity: ActivityDep,
    relay: RelayDep,
    token_entries: TokenEntriesDep,
    locale: LocaleDep,
    unreachable: str = "",
) -> Response:
    """May this request pass, and where to? 200 says yes; the client gets every other answer as it is.

    Only a POST, which no program between puts again by itself, may spend a code.
    """
    proxied = read_request(request.headers, unreachable=unreachable, repeatable=request.method != "POST")
    answer = await decide.answer(GatewayContext(resources, watch, activity, relay, token_entries), proxied)
    return _response(resources.settings, answer, locale)


@router.get("/tls", status_code=204)
async def tls(domain: Annotated[str, Query(max_length=255)], session: ReadSessionDep, resources: ResourcesDep) -> None:
    """May a certificate be asked for this host?"""
    if not await decide.serves(session, resources, domain):
        raise NotFound


@router.get("/serving", status_code=204)
async def serving(request: Request) -> None:
    """Does this process take requests? Not once it was told to stop, though for some seconds it still would."""
    if request.app.state.leaving:
        raise Unavailable


def _response(settings: Settings, answer: Answer, locale: Locale) -> Response:
    if isinstance(answer, Allow):
        host, _, port = answer.upstream.rpartition(":")
        return Response(
            headers={
                "X-Upstream": answer.upstream,
                "X-Upstream-Host": host.strip("[]"),
                "X-Upstream-Port": port,
                "X-Strip-Prefix": answer.prefix,
                "X-Base-Path": answer.base,
                "X-Spawner-User": answer.user,
                "X-Spawner-Cookie": answer.cookie,
                "X-Spawner-Authorization": answer.authorization,
                "X-Spawner-Clean-Query": "yes" if answer.clean_query else "",
                "X-Spawner-Ticket": answer.ticket,
                "X-Spawner-Tier": answer.tier,
                "X-Spawner-Frames": " ".join(settings.frame_ancestors),
                **_added(answer.headers),
            }
        )
    if isinstance(answer, Redirect):
        response = Response(status_code=answer.status, headers={"Location": answer.location})
        if answer.cookie is not None:
            response.headers["Set-Cookie"] = answer.cookie.header()
        return response
    page = error_pages.render(settings, answer, locale)
    headers = {**answer.error.headers, "Content-Security-Policy": error_pages.policy(settings, answer)}
    refused = HTMLResponse(page, answer.error.status, headers=headers)
    for cookie in answer.cookies:
        refused.headers.append("Set-Cookie", cookie)
    return refused


def _added(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """As many numbered headers as the proxy reads. One without a value is named once more, to be removed."""
    slots = [*headers, *[("X-Spawner-Unused", "")] * (MAX_HEADERS - len(headers))]
    named = {}
    for number, (name, value) in enumerate(slots, start=1):
        named[f"X-Spawner-Name-{number}"] = name
        named[f"X-Spawner-Value-{number}"] = value
        named[f"X-Spawner-Without-{number}"] = "" if value else name
    return named
