"""The home page: cards of the catalogue and the caller's workspaces."""

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.access.shares import list_shared
from app.accounts.dependencies import OptionalUserDep, UserDep
from app.accounts.principal import Principal
from app.core.errors import AppError
from app.core.i18n import Locale
from app.http.dependencies import LocaleDep, ResourcesDep, check_same_origin
from app.models import JobKind, UserState
from app.resources import Resources
from app.web.cards import Card, Seen, attempt, find_card, list_cards, wait_for_news
from app.web.error_pages import is_htmx
from app.web.logs import LINES, find_log
from app.web.messages.pages import STATUSES
from app.web.rendering import page
from app.workspaces import idle, service
from app.workspaces.dependencies import WatchDep
from app.workspaces.states import ALIVE
from app.workspaces.volumes import VolumePolicy

router = APIRouter(include_in_schema=False, dependencies=[Depends(check_same_origin)])


async def get_seen(
    job: UUID | None = None,
    etag: Annotated[str | None, Query(alias="seen", max_length=200)] = None,
    said: Annotated[str, Query(max_length=50)] = "",
    wait: Annotated[float, Query(ge=0, le=25)] = 20,
) -> Seen:
    """Parse what the page already has."""
    return Seen(job, etag, said, wait)


SeenDep = Annotated[Seen, Depends(get_seen)]


@router.api_route("/", methods=["GET", "HEAD"])
async def home(request: Request, resources: ResourcesDep, caller: OptionalUserDep, locale: LocaleDep) -> Response:
    """Show the home page; redirects to sign-in if not signed in."""
    if caller is None:
        return RedirectResponse("/sign-in", 303)
    return await _home(request, resources, caller, locale, await list_cards(resources, caller, locale))


@router.get("/home/workspaces/{type}")
async def follow(
    request: Request,
    type: str,
    resources: ResourcesDep,
    watch: WatchDep,
    caller: UserDep,
    locale: LocaleDep,
    seen: SeenDep,
) -> Response:
    """Return one card as soon as its job changes."""
    await wait_for_news(resources, watch, caller, locale, seen)
    return _fragment(request, await find_card(resources, caller, locale, type), seen.said)


@router.get("/home/workspaces/{type}/log")
async def log(request: Request, type: str, resources: ResourcesDep, caller: UserDep, locale: LocaleDep) -> Response:
    """Show the container's last output."""
    card = await find_card(resources, caller, locale, type)
    found = await find_log(resources, caller, locale, card)
    return page(request, "log.html", caller=caller, card=card, log=found, most=LINES)


@router.post("/home/workspaces/{type}/extend")
async def extend(request: Request, type: str, resources: ResourcesDep, caller: UserDep, locale: LocaleDep) -> Response:
    """Extend the idle time, then show the card."""
    refusal = await attempt(resources, lambda session: idle.extend(session, resources, caller.user, type))
    return await _changed(request, resources, caller, locale, type, refusal)


@router.post("/home/workspaces/{type}/keep")
async def keep(
    request: Request,
    type: str,
    hours: Annotated[int, Form(ge=1, le=168)],
    resources: ResourcesDep,
    caller: UserDep,
    locale: LocaleDep,
) -> Response:
    """Keep the workspace awake for some hours, or up to its longest life, then show the card."""
    until = timedelta(hours=hours)
    refusal = await attempt(resources, lambda session: idle.extend(session, resources, caller.user, type, until))
    return await _changed(request, resources, caller, locale, type, refusal)


@router.post("/home/workspaces/{type}/cancel")
async def cancel(
    request: Request,
    type: str,
    job: Annotated[UUID, Form()],
    resources: ResourcesDep,
    caller: UserDep,
    locale: LocaleDep,
) -> Response:
    """Cancel a launch or restart, then show the card."""
    refusal = await attempt(resources, lambda session: service.cancel(session, resources, caller.user, job))
    return await _changed(request, resources, caller, locale, type, refusal)


@router.post("/home/workspaces/{type}/{kind}")
async def change(
    request: Request,
    type: str,
    kind: Literal["launch", "restart", "stop", "delete"],
    resources: ResourcesDep,
    caller: UserDep,
    locale: LocaleDep,
    files: Annotated[VolumePolicy, Form()] = VolumePolicy.KEEP,
) -> Response:
    """Request the change, then show the card; `files` applies only to a deletion."""
    asked, volume = JobKind(kind), files if kind == "delete" else None
    refusal = await attempt(
        resources, lambda session: service.request(session, resources, caller.user, type, asked, volume=volume)
    )
    return await _changed(request, resources, caller, locale, type, refusal)


async def _changed(
    request: Request, resources: Resources, caller: Principal, locale: Locale, type: str, refusal: AppError | None
) -> Response:
    """Return the card after a change, with any error; without scripts, return the whole page."""
    if refusal is None and not is_htmx(request):
        return RedirectResponse("/", 303)
    said = refusal.detail.format(locale, **refusal.values) if refusal else None
    if is_htmx(request):
        # 200 also for errors: htmx swaps no others.
        card = await find_card(resources, caller, locale, type)
        return _fragment(request, replace(card, refused=said), "")
    cards = await list_cards(resources, caller, locale)
    cards = [replace(card, refused=said) if card.type == type else card for card in cards]
    answer = await _home(request, resources, caller, locale, cards)
    if refusal is not None:
        answer.status_code = refusal.status
        answer.headers.update(refusal.headers)
    return answer


async def _home(
    request: Request, resources: Resources, caller: Principal, locale: Locale, cards: list[Card]
) -> Response:
    async with resources.reads() as session:
        shared = await list_shared(session, resources, caller.user, locale)
    new = caller.user.state == UserState.VERIFIED
    default = resources.catalog.default.name.format(locale)
    return page(
        request,
        "home.html",
        caller=caller,
        cards=cards,
        shared=shared,
        statuses=STATUSES,
        alive=ALIVE,
        new=new,
        default=default,
    )


def _fragment(request: Request, card: Card, said: str) -> Response:
    return page(request, "card.html", card=card, speak=card.said != said)
