"""Home: the catalogue as cards, each with the caller's workspace."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.deps import CallerDep, LocaleDep, MaybeCallerDep, ResourcesDep, WatchDep, check_same_origin
from app.models import JobKind, UserState
from app.web.cards import Card, Seen, find_card, list_cards, wait_for_news
from app.web.destination import forget
from app.web.failures import is_htmx
from app.web.rendering import page
from app.workspaces import service

router = APIRouter(include_in_schema=False, dependencies=[Depends(check_same_origin)])


async def get_seen(
    job: UUID | None = None,
    etag: Annotated[str | None, Query(alias="seen", max_length=200)] = None,
    said: Annotated[str, Query(max_length=50)] = "",
    wait: Annotated[float, Query(ge=0, le=25)] = 20,
) -> Seen:
    """What the page that asks knows already."""
    return Seen(job, etag, said, wait)


SeenDep = Annotated[Seen, Depends(get_seen)]


@router.api_route("/", methods=["GET", "HEAD"])
async def home(request: Request, resources: ResourcesDep, caller: MaybeCallerDep, locale: LocaleDep) -> Response:
    """The caller's home; who is not signed in is sent to the form."""
    if caller is None:
        return RedirectResponse("/sign-in", 303)
    cards = await list_cards(resources, caller, locale)
    new = caller.user.state == UserState.VERIFIED
    default = resources.catalog.default.name.say(locale)
    answer = page(request, "home.html", caller=caller, cards=cards, new=new, default=default)
    forget(request, answer, resources.settings)
    return answer


@router.get("/home/workspaces/{type}")
async def follow(
    request: Request,
    type: str,
    resources: ResourcesDep,
    watch: WatchDep,
    caller: CallerDep,
    locale: LocaleDep,
    seen: SeenDep,
) -> Response:
    """One card anew, as soon as its job has moved."""
    await wait_for_news(resources, watch, caller, locale, seen)
    return _fragment(request, await find_card(resources, caller, locale, type), seen.said)


@router.post("/home/workspaces/{type}/{kind}")
async def change(
    request: Request,
    type: str,
    kind: Literal["launch", "restart"],
    resources: ResourcesDep,
    caller: CallerDep,
    locale: LocaleDep,
) -> Response:
    """Launch or restart, then show the card; a browser without scripts gets the whole page again."""
    async with resources.unit_of_work() as session:
        await service.request(session, resources, caller.user, type, kind=JobKind(kind))
    if not is_htmx(request):
        return RedirectResponse("/", 303)
    return _fragment(request, await find_card(resources, caller, locale, type), "")


def _fragment(request: Request, card: Card, said: str) -> Response:
    return page(request, "card.html", card=card, speak=card.said != said)
