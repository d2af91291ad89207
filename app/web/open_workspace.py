"""Opens a workspace: redirects to a running one, else shows a page that starts it."""

from dataclasses import replace

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from app.access.shares import find_shared
from app.accounts.dependencies import OptionalUserDep, UserDep
from app.accounts.principal import Principal
from app.auth.return_to import place_in
from app.catalog.templates import find_template
from app.core.errors import NotFound
from app.gateway.origin_handoff import enter_url
from app.http.dependencies import LocaleDep, ResourcesDep, check_same_origin
from app.http.negotiation import opens_page
from app.resources import Resources
from app.web.cards import Card, attempt, find_card, wait_for_news
from app.web.destination import Destination, DestinationDep
from app.web.error_pages import is_htmx
from app.web.home import SeenDep
from app.web.rendering import page
from app.workspaces import service
from app.workspaces.dependencies import WatchDep

router = APIRouter(prefix="/open/{route}", include_in_schema=False, dependencies=[Depends(check_same_origin)])


@router.get("")
async def open_workspace(
    request: Request,
    resources: ResourcesDep,
    caller: OptionalUserDep,
    locale: LocaleDep,
    to: DestinationDep,
) -> Response:
    """Redirect to the workspace, or show its state. Unknown and foreign workspaces are indistinguishable.

    Writes a row, so images, frames and prefetches get nothing.
    """
    if not opens_page(request.headers):
        return Response(status_code=204)
    if caller is None:
        return RedirectResponse(place_in(to.route, to.path).sign_in, 303)
    url = await _way_in(resources, caller, to)
    if url is not None:
        return RedirectResponse(url, 303)
    if to.slug == caller.user.slug:
        card = await find_card(resources, caller, locale, to.template)
        return page(request, "opening.html", caller=caller, card=card, to=to)
    name = find_template(resources.catalog, to.template).name.format(locale)
    return page(request, "shared_waits.html", caller=caller, name=name)


@router.get("/progress")
async def follow(
    request: Request,
    resources: ResourcesDep,
    watch: WatchDep,
    caller: UserDep,
    locale: LocaleDep,
    to: DestinationDep,
    seen: SeenDep,
) -> Response:
    """Return the page's panel as soon as the job changes; once the workspace runs, the browser continues to it."""
    _check_owner(caller, to)
    await wait_for_news(resources, watch, caller, locale, seen)
    card = await find_card(resources, caller, locale, to.template)
    return _panel(request, card, to, seen.said)


@router.post("")
async def start(
    request: Request,
    resources: ResourcesDep,
    caller: UserDep,
    locale: LocaleDep,
    to: DestinationDep,
) -> Response:
    """Start the workspace and show its progress.

    Responds with a page: CSP forbids redirects of a form to another origin.
    """
    _check_owner(caller, to)
    refusal = await attempt(resources, lambda session: service.request(session, resources, caller.user, to.template))
    card = await find_card(resources, caller, locale, to.template)
    if refusal is not None:
        card = replace(card, refused=refusal.detail.format(locale, **refusal.values))
    if is_htmx(request):
        return _panel(request, card, to, "")
    status, headers = (refusal.status, refusal.headers) if refusal else (200, {})
    return page(request, "opening.html", status=status, headers=headers, caller=caller, card=card, to=to)


async def _way_in(resources: Resources, caller: Principal, to: Destination) -> str | None:
    """Return the address that enters a live workspace; raises `NotFound` if the caller may not enter."""
    async with resources.unit_of_work() as session:
        url = await enter_url(session, resources, caller, to.route, to.path, to.state)
        if url is not None or to.slug == caller.user.slug:
            return url
        if await find_shared(session, resources, caller.user, to.slug, to.template) is None:
            raise NotFound
        return None


def _check_owner(caller: Principal, to: Destination) -> None:
    if to.slug != caller.user.slug:
        raise NotFound


def _panel(request: Request, card: Card, to: Destination, said: str) -> Response:
    if card.alive:
        return Response(headers={"HX-Redirect": to.local})
    return page(request, "panel.html", card=card, to=to, speak=card.said != said)
