"""/api/container and /api/jobs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.deps import CallerDep, IdempotencyKeyDep, LocaleDep, ResourcesDep, SessionDep, WatchDep
from app.errors import Forbidden, IdempotencyConflict, InvalidRequest, NotFound, Unauthorized, Unavailable, problems
from app.gateway.names import workspace_url
from app.i18n import Locale, Text
from app.models import JobKind, WorkspaceStatus
from app.resources import Resources
from app.workspaces import service, views
from app.workspaces.errors import UnknownTemplate
from app.workspaces.polling import poll_job
from app.workspaces.schemas import JOB_ID, JobOut, JobPage, LaunchOut, StatusOut

router = APIRouter()
containers = APIRouter(prefix="/api/container", tags=["container"])
jobs = APIRouter(prefix="/api/jobs", tags=["jobs"])

ALREADY = Text("The workspace is running.", "Der Arbeitsplatz läuft.")
STARTING = Text("The workspace is starting.", "Der Arbeitsplatz startet.")


async def _answer(
    session: AsyncSession,
    resources: Resources,
    slug: str,
    launched: service.Launched,
    locale: Locale,
    response: Response,
) -> LaunchOut:
    job = await views.view_job(session, launched.job, locale) if launched.job else None
    if job is None:
        response.status_code = 200
    return LaunchOut(
        message=(STARTING if job else ALREADY).say(locale),
        job=job,
        status_url=f"/api/jobs/{job.id}" if job else None,
        service_url=workspace_url(resources.settings, slug, launched.workspace.template),
        container_id=launched.workspace.container_id,
        status=launched.workspace.status,
    )


@containers.get(
    "/status",
    summary="State of the default workspace",
    operation_id="container_status",
    responses=problems(Unauthorized, Unavailable),
)
async def status(session: SessionDep, resources: ResourcesDep, caller: CallerDep) -> StatusOut:
    """`no_container` where the default workspace was never launched."""
    workspace = await views.find_workspace(session, caller.user.id, resources.catalog.default.key)
    known = workspace is not None and workspace.status != WorkspaceStatus.NOT_CREATED
    return StatusOut(
        container_id=workspace.container_id if workspace else None,
        status=workspace.status if workspace and known else "no_container",
    )


@containers.post(
    "/restart",
    status_code=202,
    summary="Replace the default workspace's container",
    operation_id="container_restart",
    responses=problems(InvalidRequest, Unauthorized, Forbidden, IdempotencyConflict, Unavailable),
)
async def restart(
    session: SessionDep,
    resources: ResourcesDep,
    caller: CallerDep,
    locale: LocaleDep,
    response: Response,
    key: IdempotencyKeyDep = None,
) -> LaunchOut:
    """A new container over the same volume. Poll `status_url` until the job ends."""
    template = resources.catalog.default.key
    launched = await service.launch(session, resources, caller.user, template, kind=JobKind.RESTART, key=key)
    return await _answer(session, resources, caller.user.slug, launched, locale, response)


@containers.post(
    "/launch/{type}",
    status_code=202,
    summary="Make or start a workspace",
    operation_id="container_launch",
    responses={
        200: {"model": LaunchOut, "description": "It runs already"},
        **problems(InvalidRequest, UnknownTemplate, Unauthorized, Forbidden, IdempotencyConflict, Unavailable),
    },
)
async def launch(
    type: Annotated[str, Path(description="Key of a template.", examples=["hello"])],
    session: SessionDep,
    resources: ResourcesDep,
    caller: CallerDep,
    locale: LocaleDep,
    response: Response,
    key: IdempotencyKeyDep = None,
) -> LaunchOut:
    """Accepted at once; poll `status_url` until the job ends. A launch that runs already answers the same job."""
    launched = await service.launch(session, resources, caller.user, type, key=key)
    return await _answer(session, resources, caller.user.slug, launched, locale, response)


@jobs.get(
    "",
    summary="List your jobs",
    operation_id="list_jobs",
    responses=problems(InvalidRequest, Unauthorized, NotFound, Unavailable),
)
async def list_jobs(
    session: SessionDep,
    caller: CallerDep,
    locale: LocaleDep,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs a page.")] = 20,
    before: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
) -> JobPage:
    """Newest first, in pages."""
    rows = await views.list_jobs(session, caller.user.id, limit=limit, before=before)
    found = await views.view_jobs(session, rows, locale)
    return JobPage(jobs=found, next=found[-1].id if len(found) == limit else None)


@jobs.get(
    "/{id}",
    response_model=JobOut,
    summary="Follow one job",
    operation_id="get_job",
    responses={
        304: {"description": "Unchanged since the ETag in If-None-Match"},
        **problems(InvalidRequest, Unauthorized, NotFound, Unavailable),
    },
)
async def get_job(
    id: Annotated[UUID, Path(description="Of the job.", examples=[JOB_ID])],
    resources: ResourcesDep,
    watch: WatchDep,
    caller: CallerDep,
    locale: LocaleDep,
    *,
    wait: Annotated[float, Query(ge=0, le=30, description="Seconds to wait for a change.")] = 0,
    seen: Annotated[str | None, Header(alias="If-None-Match", max_length=200)] = None,
) -> Response:
    """With `wait`, answers as soon as the job differs from `If-None-Match` (without it: changes), or time is over."""
    job, etag = await poll_job(resources, watch, caller.user.id, id, locale, seen=seen, wait=wait)
    if job is None:
        return Response(status_code=304, headers={"ETag": etag})
    # Written out as it is: FastAPI would validate the whole timeline once more, at every poll.
    return Response(job.model_dump_json(), media_type="application/json", headers={"ETag": etag})


router.include_router(containers)
router.include_router(jobs)
