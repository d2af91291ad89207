"""/api/admin/invitations."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path

from app.accounts.dependencies import AdminDep
from app.admin.invitation_schemas import INVITATION_ID, InvitationIn, InvitationOut, InvitationPage
from app.auth import invitations
from app.auth.errors import HasAccount
from app.core.errors import Forbidden, InvalidRequest, NotAdmin, NotFound, TooLarge, Unauthorized, Unavailable
from app.http.dependencies import LocaleDep, ReadSessionDep, ResourcesDep, SessionDep
from app.http.errors import RequestStalled
from app.http.paging import split_page
from app.http.params import Before, PageLimit
from app.http.problems import problems

router = APIRouter(prefix="/api/admin/invitations", tags=["admin"])

READING = (InvalidRequest, Unauthorized, NotAdmin, Unavailable)


@router.post(
    "",
    summary="Invite a user by e-mail",
    operation_id="invite",
    responses=problems(*READING, Forbidden, HasAccount, RequestStalled, TooLarge),
)
async def invite(
    body: InvitationIn, session: SessionDep, resources: ResourcesDep, admin: AdminDep, locale: LocaleDep
) -> InvitationOut:
    """Lets the address sign up whatever SIGNUP says, and mails an invitation in the language of this request.

    Repeating it renews the invitation and mails again.
    """
    made = await invitations.invite_address(session, resources, admin.user, body.email, locale)
    return InvitationOut.model_validate(made, from_attributes=True)


@router.get("", summary="List invitations", operation_id="list_invitations", responses=problems(*READING, NotFound))
async def list_invitations(
    session: ReadSessionDep,
    _: AdminDep,
    limit: PageLimit = 20,
    before: Before = None,
) -> InvitationPage:
    """Newest first, in pages; expired invitations stay listed for a month."""
    found = await invitations.list_invitations(session, limit=limit + 1, before=before)
    page, last = split_page(found, limit)
    shown = [InvitationOut.model_validate(one, from_attributes=True) for one in page]
    return InvitationPage(invitations=shown, next=last and last.id)


@router.delete(
    "/{id}",
    status_code=204,
    summary="Revoke an invitation",
    operation_id="revoke_invitation",
    response_description="Revoked",
    responses=problems(*READING, Forbidden, NotFound),
)
async def revoke_invitation(
    id: Annotated[UUID, Path(description="Of the invitation.", examples=[INVITATION_ID])],
    session: SessionDep,
    admin: AdminDep,
) -> None:
    """An unconfirmed address can no longer sign up, unless SIGNUP permits it. Accounts stay."""
    await invitations.revoke_invitation(session, admin.user, id)
