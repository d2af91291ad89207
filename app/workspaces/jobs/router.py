"""/api/jobs."""

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from app.accounts.dependencies import ScopedUserDep, answer_scoped_user
from app.accounts.principal import Principal
from app.core.errors import Forbidden, InvalidRequest, NotFound, Unauthorized, Unavailable
from app.core.reader import Row
from app.http.dependencies import LocaleDep, ReadSessionDep, ResourcesDep, SessionDep
from app.http.direct import DirectRoute, directly
from app.http.negotiation import locale_of
from app.http.paging import split_page
from app.http.params import Before, JobPath, PageLimit
from app.http.problems import problems
from app.resources import Resources
from app.workspaces import service, views
from app.workspaces.errors import NotCancellable, TooManyStreams
from app.workspaces.jobs.follow import known_tags, poll_job
from app.workspaces.schemas import JobOut, JobPage

router = APIRouter(prefix="/api/jobs", tags=["jobs"])

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MAX_TAG = 200


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


async def get_poll(
    id: JobPath,
    wait: Annotated[float, Query(ge=0, le=30, description="Seconds to wait for a change.")] = 0,
    seen: Annotated[str | None, Header(alias="If-None-Match", max_length=MAX_TAG)] = None,
) -> None:
    """The parameters of a poll, for OpenAPI and validation."""


class PollRoute(DirectRoute):
    """Polls without `wait` are plain, as repeated polls are."""

    def is_plain(self, request: Request) -> bool:
        return (
            not request.scope["query_string"]
            and _ID.fullmatch(request.path_params["id"]) is not None
            and len(request.headers.get("if-none-match", "")) <= MAX_TAG
        )


@directly(
    router,
    "GET",
    "/{id}",
    PollRoute,
    response_model=JobOut,
    summary="Get a job",
    operation_id="get_job",
    dependencies=[Depends(get_poll)],
    responses={
        304: {"description": "Unchanged since the ETag in If-None-Match"},
        **problems(InvalidRequest, Unauthorized, NotFound, TooManyStreams, Unavailable),
    },
)
async def get_job(request: Request) -> Response:
    """With `wait`, responds as soon as the job differs from `If-None-Match` (without it: changes), or the time
    is over.
    """
    resources: Resources = request.app.state.resources
    job_id, seen = UUID(request.path_params["id"]), request.headers.get("if-none-match")
    locale, wait = locale_of(request), float(request.query_params.get("wait", 0))

    async def answer(_: Principal, rows: list[Row]) -> Response:
        return _answer(*views.make_job(resources, rows[0], locale))

    async def compare(caller: Principal, rows: list[Row]) -> Response:
        ((version, place),) = rows
        if version is None:
            raise NotFound
        patience = 0 if caller.fresh else wait
        job, etag = None, views.tag(version, place, locale)
        if patience or etag not in known_tags(seen):
            watch = request.app.state.watch
            job, etag = await poll_job(resources, watch, caller, job_id, locale, seen=seen, wait=patience)
        return _answer(job, etag)

    if seen is None and not wait:
        return await answer_scoped_user(request, views.JOB, answer, job_id=job_id)
    return await answer_scoped_user(request, views.JOB_TAG, compare, job_id=job_id)


def _answer(job: JobOut | None, etag: str) -> Response:
    if job is None:
        return Response(status_code=304, headers={"ETag": etag})
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
    """Cancels a waiting or running job and undoes its started work; an ended job stays unchanged."""
    job = await service.cancel(session, resources, caller.user, id)
    return await views.view_job(session, resources, job, locale)
