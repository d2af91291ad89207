"""/api/volumes."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path

from app.accounts.dependencies import ScopedUserDep
from app.core.errors import Forbidden, InvalidRequest, NotFound, Unauthorized, Unavailable
from app.http.dependencies import ReadSessionDep, SessionDep
from app.http.problems import problems
from app.workspaces import volumes
from app.workspaces.errors import VolumeInUse
from app.workspaces.schemas import VOLUME_ID, VolumeOut, VolumesOut

router = APIRouter(prefix="/api/volumes", tags=["volumes"])

VolumePath = Annotated[UUID, Path(description="Of the volume.", examples=[VOLUME_ID])]


@router.get("", summary="List your volumes", operation_id="list_volumes", responses=problems(Unauthorized, Unavailable))
async def list_volumes(session: ReadSessionDep, caller: ScopedUserDep) -> VolumesOut:
    """Files of your workspaces, also of deleted ones until they expire."""
    return VolumesOut(
        volumes=[
            VolumeOut(
                id=volume.id,
                type=volume.template,
                created_at=volume.created_at,
                delete_at=volume.delete_at,
                in_use=in_use,
            )
            for volume, in_use in await volumes.list_volumes(session, caller.user.id)
        ]
    )


@router.delete(
    "/{id}",
    status_code=204,
    summary="Delete a volume",
    operation_id="delete_volume",
    response_description="Deleted",
    responses=problems(InvalidRequest, Unauthorized, Forbidden, NotFound, VolumeInUse, Unavailable),
)
async def delete_volume(id: VolumePath, session: SessionDep, caller: ScopedUserDep) -> None:
    """Deletes the files irrevocably; the server removes them within moments. A later launch starts without files."""
    await volumes.remove(session, caller.user, id)
