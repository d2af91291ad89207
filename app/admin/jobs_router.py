"""/api/admin/jobs."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.accounts.dependencies import AdminDep
from app.admin import jobs
from app.admin.jobs import JobFilter
from app.admin.router import CHANGES, PAGES, OfUser
from app.admin.schemas import AdminJobOut, AdminJobPage
from app.http.dependencies import LocaleDep, ReadSessionDep, ResourcesDep, SessionDep
from app.http.paging import split_page
from app.http.params import Before, JobPath, PageLimit
from app.http.problems import problems
from app.models import JobKind, JobState
from app.workspaces.errors import NotCancellable

router = APIRouter(prefix="/api/admin/jobs", tags=["admin"])


@router.get("", summary="List all users' jobs", operation_id="list_all_jobs", responses=PAGES)
async def list_jobs(
    session: ReadSessionDep,
    resources: ResourcesDep,
    _: AdminDep,
    locale: LocaleDep,
    state: Annotated[JobState | None, Query(description="Only those in this state.")] = None,
    kind: Annotated[JobKind | None, Query(description="Only those of this kind.")] = None,
    user: OfUser = None,
    error: Annotated[str | None, Query(max_length=40, description="Only those with this code.")] = None,
    limit: PageLimit = 20,
    before: Before = None,
) -> AdminJobPage:
    """Newest first, in pages."""
    wanted = JobFilter(state=state, kind=kind, user_id=user, error_code=error)
    found = await jobs.list_jobs(session, resources, wanted, locale, limit=limit + 1, before=before)
    page, last = split_page(found, limit)
    return AdminJobPage(jobs=page, next=last and last.job.id)


@router.get("/{id}", summary="Get any user's job", operation_id="get_any_job", responses=PAGES)
async def get_job(
    id: JobPath, session: ReadSessionDep, resources: ResourcesDep, _: AdminDep, locale: LocaleDep
) -> AdminJobOut:
    """Includes the timeline, and the container's last output if the job failed."""
    return await jobs.get_job(session, resources, id, locale)


@router.post(
    "/{id}/cancel",
    summary="Cancel any user's job",
    operation_id="cancel_any_job",
    responses=problems(*CHANGES, NotCancellable),
)
async def cancel_job(
    id: JobPath, session: SessionDep, resources: ResourcesDep, admin: AdminDep, locale: LocaleDep
) -> AdminJobOut:
    """Like the owner's request; the owner sees who cancelled. A finished job stays unchanged."""
    return await jobs.cancel(session, resources, id, locale, admin=admin.user)
