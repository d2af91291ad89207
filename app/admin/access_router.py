"""/api/admin/workspaces/{id}/access: support access, visible to the owner."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.access import support_access
from app.access.errors import SharedOrigin
from app.access.schemas import SharedOut
from app.accounts.dependencies import RecentAdminDep
from app.core.errors import (
    Forbidden,
    InvalidRequest,
    NotAdmin,
    NotFound,
    SignInAgain,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from app.http.dependencies import LocaleDep, ResourcesDep, SessionDep
from app.http.errors import RequestStalled
from app.http.params import WorkspacePath
from app.http.problems import problems

router = APIRouter(prefix="/api/admin", tags=["admin"])

MIN_LENGTH = 10


def _check(raw: str) -> str:
    reason = raw.strip()
    if len(reason) < MIN_LENGTH:
        raise PydanticCustomError("reason_too_short", "too short", {"min_length": MIN_LENGTH})
    return reason


class AccessIn(BaseModel):
    """The reason of an admin's access."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "Ticket 4711: the notebook does not save, asked to look."}]}
    )
    reason: Annotated[str, AfterValidator(_check)] = Field(
        max_length=300, description="The owner reads it. At least ten characters."
    )


@router.post(
    "/workspaces/{id}/access",
    status_code=201,
    summary="Get support access to a workspace",
    operation_id="take_access",
    response_description="Granted",
    responses=problems(
        InvalidRequest,
        Forbidden,
        NotFound,
        RequestStalled,
        TooLarge,
        Unauthorized,
        NotAdmin,
        SignInAgain,
        SharedOrigin,
        Unavailable,
    ),
)
async def take_access(
    id: WorkspacePath,
    body: AccessIn,
    session: SessionDep,
    resources: ResourcesDep,
    caller: RecentAdminDep,
    locale: LocaleDep,
) -> SharedOut:
    """Valid for an hour, unless the operator has set another time. Audited with its reason; the owner sees both.

    Requires a session that began within the last 15 minutes; tokens are refused.
    """
    return await support_access.take_access(session, resources, caller.user, id, body.reason, locale)
