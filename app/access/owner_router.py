"""/api/container/{type}/shares and /share-links: an owner's shares."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path

from app.access import shares
from app.access.errors import SharedOrigin, TooManyShares
from app.access.schemas import LINK_ID, NewShareLinkOut, ShareIn, ShareLinkIn, ShareLinksOut, ShareOut, SharesOut
from app.accounts.dependencies import ScopedUserDep, UserDep
from app.accounts.errors import TooManyChanges
from app.catalog.errors import UnknownTemplate
from app.catalog.templates import find_template
from app.core.errors import Forbidden, InvalidRequest, NotFound, TooLarge, Unauthorized, Unavailable
from app.http.dependencies import ReadSessionDep, ResourcesDep, SessionDep
from app.http.errors import RequestStalled
from app.http.params import SharePath, TypePath
from app.http.problems import problems

router = APIRouter(prefix="/api/container/{type}", tags=["sharing"])

LinkPath = Annotated[UUID, Path(description="Of the link.", examples=[LINK_ID])]

READS = problems(UnknownTemplate, Unauthorized, Unavailable)
CHANGES = (InvalidRequest, UnknownTemplate, Unauthorized, Forbidden, NotFound, Unavailable)
MAKES = problems(*CHANGES, TooManyChanges, TooManyShares, SharedOrigin, RequestStalled, TooLarge)
ENDS = problems(*CHANGES)


@router.post(
    "/shares", status_code=201, summary="Share a workspace", operation_id="make_share", responses=MAKES,
    response_description="Shared",
)  # fmt: skip
async def make_share(
    type: TypePath, body: ShareIn, session: SessionDep, resources: ResourcesDep, caller: UserDep
) -> ShareOut:
    """People who sign in with this address may enter until you revoke the share. The answer is the same whether or not
    the address has an account.
    """
    return await shares.share(session, resources, caller.user, find_template(resources.catalog, type).key, body.email)


@router.get("/shares", summary="List a workspace's shares", operation_id="list_shares", responses=READS)
async def list_shares(
    type: TypePath, session: ReadSessionDep, resources: ResourcesDep, caller: ScopedUserDep
) -> SharesOut:
    """People other than you who may enter, and admins who could within the last thirty days, with their reason."""
    key = find_template(resources.catalog, type).key
    return SharesOut(shares=await shares.list_shares(session, caller.user, key))


@router.delete(
    "/shares/{id}",
    status_code=204,
    summary="Revoke a share",
    operation_id="revoke_share",
    response_description="Revoked",
    responses=ENDS,
)
async def revoke_share(
    type: TypePath, id: SharePath, session: SessionDep, resources: ResourcesDep, caller: UserDep
) -> None:
    """The next request is refused, and open websockets end within two seconds. An admin's access cannot be revoked."""
    await shares.revoke(session, caller.user, find_template(resources.catalog, type).key, id)


@router.post(
    "/share-links", status_code=201, summary="Create a share link", operation_id="make_share_link",
    responses=MAKES, response_description="Made",
)  # fmt: skip
async def make_share_link(
    type: TypePath, body: ShareLinkIn, session: SessionDep, resources: ResourcesDep, caller: UserDep
) -> NewShareLinkOut:
    """Anyone with an account can use the link to enter, until it expires. Its address is shown only once."""
    key = find_template(resources.catalog, type).key
    return await shares.make_link(session, resources, caller.user, key, body.hours)


@router.get("/share-links", summary="List a workspace's share links", operation_id="list_share_links", responses=READS)
async def list_share_links(
    type: TypePath, session: ReadSessionDep, resources: ResourcesDep, caller: ScopedUserDep
) -> ShareLinksOut:
    """Valid links, without their addresses."""
    key = find_template(resources.catalog, type).key
    return ShareLinksOut(links=await shares.list_links(session, caller.user, key))


@router.delete(
    "/share-links/{id}",
    status_code=204,
    summary="Revoke a share link",
    operation_id="revoke_share_link",
    response_description="Revoked",
    responses=ENDS,
)
async def revoke_share_link(
    type: TypePath, id: LinkPath, session: SessionDep, resources: ResourcesDep, caller: UserDep
) -> None:
    """The link stops working, and everyone who used it loses access."""
    await shares.revoke_link(session, caller.user, find_template(resources.catalog, type).key, id)
