"""/api/admin/audit."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, AwareDatetime

from app.accounts.dependencies import AdminDep
from app.admin.router import READING
from app.audit import queries
from app.audit.export import MEDIA_TYPES, Format
from app.audit.queries import AuditFilter
from app.audit.schemas import AuditPage
from app.core.errors import InvalidRequest
from app.http.dependencies import ReadSessionDep, ResourcesDep, SessionDep
from app.http.paging import MAX_ROW_ID, split_page
from app.http.params import BeforeRow, PageLimit
from app.http.problems import problems

router = APIRouter(prefix="/api/admin/audit", tags=["admin"])

FILES: dict[str, Any] = {media_type: {"schema": {"type": "string"}} for media_type in MEDIA_TYPES.values()}
ANSWERS = problems(InvalidRequest, *READING)


def _usual(value: datetime) -> datetime:
    """Convert a time to UTC, within the range that every part supports."""
    if not 2000 <= value.year < 2200:
        raise ValueError("not a time of this trail")
    return value.astimezone(UTC)


Time = Annotated[AwareDatetime, AfterValidator(_usual)]


async def get_filter(
    actor: Annotated[str | None, Query(max_length=254, description="An address, or the id of an account.")] = None,
    action: Annotated[str | None, Query(max_length=40, examples=["user_blocked"])] = None,
    target_kind: Annotated[str | None, Query(max_length=20, examples=["workspace"])] = None,
    target: Annotated[str | None, Query(max_length=254, description="As in the entries.")] = None,
    outcome: Annotated[str | None, Query(max_length=40, description="`ok`, or the code of a refusal.")] = None,
    since: Annotated[Time | None, Query(description="Not before this time.")] = None,
    until: Annotated[Time | None, Query(description="Before this time.")] = None,
) -> AuditFilter:
    """The filter of the query parameters."""
    return AuditFilter(actor, action, target_kind, target, outcome, since, until)


FilterDep = Annotated[AuditFilter, Depends(get_filter)]


@router.get("", summary="List audit log entries", operation_id="list_audit", responses=ANSWERS)
async def list_audit(
    session: ReadSessionDep,
    _: AdminDep,
    wanted: FilterDep,
    limit: PageLimit = 20,
    before: BeforeRow = None,
) -> AuditPage:
    """Acts and denied attempts, with actor and origin. Newest first, in pages."""
    found = await queries.list_entries(session, wanted, limit=limit + 1, before=before)
    page, last = split_page(found, limit)
    return AuditPage(entries=page, next=last and last.id)


@router.get(
    "/export",
    summary="Export the audit log",
    operation_id="export_audit",
    response_class=Response,
    responses={200: {"description": "The file, as it is read", "content": FILES}, **ANSWERS},
)
async def export_audit(
    session: SessionDep,
    resources: ResourcesDep,
    admin: AdminDep,
    wanted: FilterDep,
    format: Annotated[Format, Query(description="CSV for spreadsheets, or a JSON object a line.")] = Format.CSV,
    after: Annotated[int, Query(ge=0, le=MAX_ROW_ID, description="Only rows after this id.")] = 0,
) -> StreamingResponse:
    """Oldest first, at most 100,000 rows: continue with `after`, the last row's id. The export itself is recorded."""
    last = await queries.begin_export(session, wanted, format, after=after, admin=admin.user)
    parts = queries.export(resources, wanted, format, after=after, last=last)
    headers = {"Content-Disposition": f'attachment; filename="audit.{format}"'}
    return StreamingResponse(parts, media_type=MEDIA_TYPES[format], headers=headers)
