"""/api/jobs."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from app.accounts.dependencies import ScopedUserDep
from app.core.errors import Forbidden, InvalidRequest, NotFound, Unauthorized, Unavailable
from app.http.dependencies import LocaleDep, ReadSessionDep, ResourcesDep, SessionDep
from app.http.paging import Before, PageLimit, split_page
from app.http.params import JobPath
from app.http.problems import problems
from app.workspaces import service, views
from app.workspaces.dependencies import WatchDep
from app.workspaces.errors import NotCancellable, TooManyStreams
from app.workspaces.jobs.follow import poll_job
from app.workspaces.schemas import JobOut, JobPage

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


@router.get(
    "",
    summary="List your jobs",
    operation_id="list_jobs",
    responses=problems(InvalidRequest, Unauthorized, NotFound, Unavailable),
)
async def list_jobs(
    session: ReadSessionDep,
    resources: ResourcesDep,
    caller: ScopedUserDep,
    locale: LocaleDep,
    limit: PageLimit = 20,
    before: Before = None,
) -> JobPage:
    """Newest first, in pages."""
    found = await views.list_jobs(session, caller.user.id, limit=limit + 1, before=before)
    page, last = split_page(found, limit)
    return JobPage(jobs=await views.view_jobs(session, resources, page, locale), next=last and last.id)


@router.get(
    "/{id}",
    response_model=JobOut,
    summary="Get a job",
    operation_id="get_job",
    responses={
        304: {"description": "Unchanged since the ETag in If-None-Match"},
        **problems(InvalidRequest, Unauthorized, NotFound, TooManyStreams, Unavailable),
    },
)
async def get_job(
    id: JobPath,
    resources: ResourcesDep,
    watch: WatchDep,
    caller: ScopedUserDep,
    locale: LocaleDep,
    *,
    wait: Annotated[float, Query(ge=0, le=30, description="Seconds to wait for a change.")] = 0,
    seen: Annotated[str | None, Header(alias="If-None-Match", max_length=200)] = None,
) -> Response:
    """With `wait`, answers as soon as the job differs from `If-None-Match` (without it: changes), or time is over."""
    wait = 0 if caller.fresh else wait
    job, etag = await poll_job(resources, watch, caller, id, locale, seen=seen, wait=wait)
    if job is None:
        return Response(status_code=304, headers={"ETag": etag})
    # Written out as it is: FastAPI would validate the whole timeline once more, at every poll.
    return Response(job.model_dump_json(), media_type="application/json", headers={"ETag": etag})


@router.post(
    "/{id}/cancel",
    summary="Cancel a job",
    operation_id="cancel_job",
    responses=problems(InvalidRequest, Unauthorized, Forbidden, NotFound, NotCancellable, Unavailable),
)
async def cancel_job(
    id: JobPath, session: SessionDep, resources: ResourcesDep, caller: ScopedUserDep, locale: LocaleDep
) -> JobOut:
    """Waiting or under way. What had begun at the engine is taken back; a job that has ended stays as it is."""
    job = await service.cancel(session, resources, caller.user, id)
    return await views.view_job(session, resources, job, locale)
