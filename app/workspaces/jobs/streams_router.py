"""Streams: a job's events, and a container's log."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from app.accounts.dependencies import ScopedUserDep
from app.accounts.principal import confirm
from app.catalog.errors import UnknownTemplate
from app.core.errors import InvalidRequest, NotFound, Unauthorized, Unavailable
from app.http.dependencies import LocaleDep, ResourcesDep
from app.http.params import JobPath, TypePath
from app.http.problems import problems
from app.http.sse import KEEP_ALIVE, answer, event
from app.workspaces.dependencies import WatchDep
from app.workspaces.errors import LogsUnavailable, NoContainer, TooManyStreams
from app.workspaces.jobs.follow import MAX_SECONDS, follow_job
from app.workspaces.logs import LogLine, follow_log, read_log_or_kept
from app.workspaces.schemas import JobOut, LogOut

router = APIRouter()

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=200, description="`id` of the last event seen; browsers send it."),
]
# Id of a log's last event: a reconnecting client is told that the log has ended.
END_ID = "end"
STREAM: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}


@router.get(
    "/api/jobs/{id}/events",
    tags=["jobs"],
    response_class=Response,
    summary="Stream a job's events",
    operation_id="job_events",
    responses={
        200: {"description": "Server-Sent Events, until the job has ended", "content": STREAM},
        204: {"description": "The job has ended, and Last-Event-ID names its last event: do not reconnect"},
        **problems(InvalidRequest, Unauthorized, NotFound, TooManyStreams, Unavailable),
    },
)
async def job_events(
    id: JobPath,
    resources: ResourcesDep,
    watch: WatchDep,
    caller: ScopedUserDep,
    locale: LocaleDep,
    seen: LastEventId = None,
) -> Response:
    """Sends an event `job` at each change: `data` is the body of `GET /api/jobs/{id}`, `id` its ETag.

    Starts with the current job, unless `Last-Event-ID` is its ETag. Ends after the event of the job's end; ends early
    after ten minutes, at a restart of the service, and once the session has ended.
    """
    return await answer(_job_events(follow_job(resources, watch, caller, id, locale, seen=seen)), seconds=MAX_SECONDS)


async def _job_events(news: AsyncGenerator[tuple[JobOut, str] | None, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(news):
        async for one in news:
            yield event("job", one[0].model_dump_json(), one[1]) if one else KEEP_ALIVE


@router.get(
    "/api/container/{type}/logs",
    tags=["container"],
    response_model=LogOut,
    summary="Read or stream a workspace's logs",
    operation_id="container_logs",
    responses={
        200: {"content": STREAM},
        204: {"description": "Last-Event-ID names the log's last event: do not reconnect"},
        **problems(
            InvalidRequest, UnknownTemplate, Unauthorized, NoContainer, TooManyStreams, LogsUnavailable, Unavailable
        ),
    },
)
async def container_logs(
    type: TypePath,
    resources: ResourcesDep,
    watch: WatchDep,
    caller: ScopedUserDep,
    *,
    tail: Annotated[int, Query(ge=0, le=2000, description="Number of lines, counted from the end.")] = 200,
    follow: Annotated[bool, Query(description="Stream events, and continue with new lines.")] = False,
    seen: LastEventId = None,
) -> Response:
    """The container's output, oldest first, at most 4,096 characters per line, without the platform's secrets.

    For a failed workspace without a container, returns the lines that were kept.

    With `follow`, sends an event `log` per line, with increasing ids, and `end` when the container ends. Every
    connection starts with `tail` lines again; it ends without `end` after ten minutes, at a restart of the service, and
    once the session has ended.
    """
    if not follow:
        log = LogOut(lines=await read_log_or_kept(resources, caller.user.id, type, tail=tail))
        # The worker may have taken long, and the session may have ended.
        await confirm(resources, caller)
        return Response(log.model_dump_json(), media_type="application/json")
    if seen == END_ID:
        return Response(status_code=204)
    return await answer(_log_events(follow_log(resources, watch, caller, type, tail=tail)), seconds=MAX_SECONDS)


async def _log_events(batches: AsyncGenerator[list[LogLine] | None, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(batches):
        async for lines in batches:
            if lines is None:
                yield event("end", "{}", END_ID)
            else:
                chunks = [event("log", json.dumps({"line": line.text}), line.id) for line in lines]
                yield b"".join(chunks) or KEEP_ALIVE
