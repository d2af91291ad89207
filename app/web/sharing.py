"""Pages for sharing a workspace, accepting a link, and leaving a share."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from app.access import shares as service
from app.access.errors import SharedOrigin, TooManyShares
from app.access.schemas import MAX_HOURS
from app.accounts.dependencies import OptionalUserDep, UserDep
from app.accounts.emails import normalise
from app.accounts.errors import InvalidAddress, TooManyChanges
from app.accounts.principal import Principal
from app.auth.return_to import SHARE, read_local
from app.catalog.templates import find_template
from app.core.i18n import Locale
from app.http.dependencies import LocaleDep, ResourcesDep, check_same_origin
from app.resources import Resources
from app.web.rendering import page, say

router = APIRouter(include_in_schema=False, dependencies=[Depends(check_same_origin)])
CARD = "/home/workspaces/{type}"

# Choices of the form, in hours.
LIVES = (1, 24, 168, MAX_HOURS)


@router.api_route(SHARE, methods=["GET", "HEAD"])
async def accept(request: Request, resources: ResourcesDep, caller: OptionalUserDep, locale: LocaleDep) -> Response:
    """Show the accept button. The link's token is in the fragment; sign-in, if needed, returns here."""
    off = SharedOrigin.detail.format(locale) if not resources.settings.host_mode else None
    return page(request, "accept.html", caller=caller, off=off, sign_in=read_local(SHARE).sign_in)


@router.get(f"{CARD}/shares")
async def shares(request: Request, type: str, resources: ResourcesDep, caller: UserDep, locale: LocaleDep) -> Response:
    """Show the shares of a workspace, and forms to add some."""
    return await _shares(request, resources, caller, locale, type)


@router.post(f"{CARD}/shares")
async def share(
    request: Request,
    type: str,
    resources: ResourcesDep,
    caller: UserDep,
    locale: LocaleDep,
    email: Annotated[str, Form()] = "",
) -> Response:
    """Share with an address, then show the shares."""
    try:
        address = normalise(email)
        async with resources.unit_of_work() as session:
            await service.share(session, resources, caller.user, find_template(resources.catalog, type).key, address)
    except InvalidAddress:
        said = say(locale, "invalid_email")
        return await _shares(request, resources, caller, locale, type, status=400, email=email, invalid=said)
    except (TooManyShares, TooManyChanges, SharedOrigin) as error:
        said = error.detail.format(locale)
        return await _shares(request, resources, caller, locale, type, status=error.status, email=email, invalid=said)
    return _back(type)


@router.post(f"{CARD}/shares/{{id}}/revoke")
async def revoke(type: str, id: UUID, resources: ResourcesDep, caller: UserDep) -> Response:
    """Revoke a share, then show the shares."""
    async with resources.unit_of_work() as session:
        await service.revoke(session, caller.user, type, id)
    return _back(type)


@router.post(f"{CARD}/share-links")
async def make_link(
    request: Request,
    type: str,
    resources: ResourcesDep,
    caller: UserDep,
    locale: LocaleDep,
    hours: Annotated[int, Form(ge=1, le=MAX_HOURS)] = 24,
) -> Response:
    """Create a link, and show it in this response only."""
    key = find_template(resources.catalog, type).key
    try:
        async with resources.unit_of_work() as session:
            made = await service.make_link(session, resources, caller.user, key, hours)
    except (TooManyShares, TooManyChanges, SharedOrigin) as error:
        said = error.detail.format(locale)
        return await _shares(request, resources, caller, locale, type, status=error.status, full=said)
    return await _shares(request, resources, caller, locale, type, made=made.url)


@router.post(f"{CARD}/share-links/{{id}}/revoke")
async def revoke_link(type: str, id: UUID, resources: ResourcesDep, caller: UserDep) -> Response:
    """Revoke a link and its shares, then show the shares."""
    async with resources.unit_of_work() as session:
        await service.revoke_link(session, caller.user, type, id)
    return _back(type)


@router.post("/home/shared/{id}/leave")
async def leave(id: UUID, resources: ResourcesDep, caller: UserDep) -> Response:
    """Leave a share, then go home."""
    async with resources.unit_of_work() as session:
        await service.leave(session, caller.user, id)
    return RedirectResponse("/", 303)


def _back(type: str) -> Response:
    return RedirectResponse(CARD.format(type=type) + "/shares", 303)


async def _shares(
    request: Request,
    resources: Resources,
    caller: Principal,
    locale: Locale,
    type: str,
    *,
    status: int = 200,
    email: str = "",
    invalid: str | None = None,
    full: str | None = None,
    made: str | None = None,
) -> Response:
    template = find_template(resources.catalog, type)
    async with resources.reads() as session:
        found = await service.list_shares(session, caller.user, template.key)
        links = await service.list_links(session, caller.user, template.key)
    return page(
        request,
        "shares.html",
        status=status,
        caller=caller,
        type=template.key,
        name=template.name.format(locale),
        people=[share for share in found if share.how != "admin"],
        admins=[share for share in found if share.how == "admin"],
        links=links,
        lives=LIVES,
        email=email,
        invalid=invalid,
        full=full,
        made=made,
        off=SharedOrigin.detail.format(locale) if not resources.settings.host_mode else None,
    )
