"""/api/container."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.convertors import StringConvertor, register_url_convertor

from app.accounts.dependencies import ScopedUserDep, answer_scoped_user
from app.accounts.errors import TooManyChanges
from app.accounts.principal import PRINCIPAL, Principal
from app.catalog import templates
from app.catalog.errors import UnknownTemplate
from app.catalog.templates import RESERVED_KEYS
from app.core.addresses import workspace_url
from app.core.errors import (
    Forbidden,
    IdempotencyConflict,
    InvalidRequest,
    NotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from app.core.i18n import Text
from app.core.reader import Row
from app.http.dependencies import IdempotencyKeyDep, LocaleDep, ResourcesDep, SessionDep
from app.http.direct import DirectRoute, directly
from app.http.errors import RequestStalled
from app.http.negotiation import locale_of
from app.http.params import TypePath
from app.http.problems import problems
from app.models import JobKind, WorkspaceStatus
from app.resources import Resources
from app.workspaces import idle, service, views
from app.workspaces.dependencies import CommandContext, CommandContextDep
from app.workspaces.errors import CAPACITY, NotExtendable, QuotaUserRunning, UntilOutOfRange
from app.workspaces.schemas import ExtendIn, LaunchOut, StatusOut, WorkspaceOut
from app.workspaces.states import STARTING
from app.workspaces.volumes import VolumePolicy

router = APIRouter(prefix="/api/container", tags=["container"])


class _Template(StringConvertor):
    """A template's key in a path, distinct from the first version's routes."""

    regex = rf"(?!(?:{'|'.join(RESERVED_KEYS)})(?:/|$))[^/]+"


register_url_convertor("template", _Template())


ALREADY = Text("The workspace is running.", "Der Arbeitsplatz läuft.")
AT_REST = Text("The workspace is not running.", "Der Arbeitsplatz läuft nicht.")
UNDER_WAY: dict[JobKind, Text] = {
    JobKind.LAUNCH: Text("The workspace is starting.", "Der Arbeitsplatz startet."),
    JobKind.RESTART: Text("The workspace is starting.", "Der Arbeitsplatz startet."),
    JobKind.STOP: Text("The workspace is stopping.", "Der Arbeitsplatz wird beendet."),
    JobKind.DELETE: Text("The workspace is being deleted.", "Der Arbeitsplatz wird gelöscht."),
}

CHANGES = (InvalidRequest, UnknownTemplate, Unauthorized, Forbidden, IdempotencyConflict, TooManyChanges, Unavailable)
STARTS = problems(*CHANGES, QuotaUserRunning, *CAPACITY.values())
ENDS = problems(*CHANGES, NotFound)


def _nothing(description: str) -> dict[int | str, dict[str, object]]:
    return {200: {"model": LaunchOut, "description": description}}


async def _ask(
    command: CommandContext, template: str, kind: JobKind, *, volume: VolumePolicy | None = None
) -> LaunchOut:
    """Request a change of the caller's workspace: 202 with a job, or 200 without one."""
    session, resources, locale = command.session, command.resources, command.locale
    accepted = await service.request(
        session, resources, command.caller.user, template, kind, key=command.key, volume=volume
    )
    job = await views.view_accepted(session, resources, accepted, locale)
    if job is None:
        command.response.status_code = 200
    nothing = ALREADY if kind in STARTING else AT_REST
    return LaunchOut(
        message=(UNDER_WAY[kind] if job else nothing).format(locale),
        job=job,
        status_url=f"/api/jobs/{job.id}" if job else None,
        service_url=workspace_url(resources.settings, command.caller.user.slug, template),
        container_id=accepted.workspace.container_id,
        status=accepted.workspace.status,
    )


@directly(
    router,
    "GET",
    "/status",
    response_model=StatusOut,
    summary="Get the default workspace's status",
    operation_id="container_status",
    responses=problems(Unauthorized, Unavailable),
)
async def status(request: Request) -> Response:
    """`no_container` if the default workspace was never launched."""
    resources: Resources = request.app.state.resources
    return await answer_scoped_user(request, views.STATUS, _status, template=resources.catalog.default.key)


async def _status(_: Principal, rows: list[Row]) -> Response:
    ((container_id, status),) = rows
    known = status is not None and status != WorkspaceStatus.NOT_CREATED
    out = StatusOut(container_id=container_id, status=status if known else "no_container")
    return Response(out.model_dump_json(), media_type="application/json")


@router.post(
    "/restart",
    status_code=202,
    summary="Restart the default workspace",
    operation_id="container_restart",
    responses=problems(
        InvalidRequest,
        Unauthorized,
        Forbidden,
        IdempotencyConflict,
        TooManyChanges,
        Unavailable,
        QuotaUserRunning,
        *CAPACITY.values(),
    ),
)
async def restart_default(command: CommandContextDep) -> LaunchOut:
    """Creates a new container with the same volume. Poll `status_url` until the job ends."""
    return await _ask(command, command.resources.catalog.default.key, JobKind.RESTART)


async def post_launch(type: TypePath, key: IdempotencyKeyDep = None) -> None:
    """The parameters of a launch, for OpenAPI and validation."""


class LaunchRoute(DirectRoute):
    """Launches without Idempotency-Key are plain."""

    def is_plain(self, request: Request) -> bool:
        return "idempotency-key" not in request.headers


@directly(
    router,
    "POST",
    "/launch/{type}",
    LaunchRoute,
    response_model=LaunchOut,
    status_code=202,
    summary="Launch a workspace",
    operation_id="container_launch",
    dependencies=[Depends(post_launch)],
    responses={**_nothing("It already runs"), **STARTS},
)
async def launch(request: Request) -> Response:
    """Accepted at once; poll `status_url` until the job ends. During a launch, returns the same job."""

    async def answer(caller: Principal, _: list[Row]) -> Response:
        resources: Resources = request.app.state.resources
        response = Response(status_code=202)
        async with resources.unit_of_work() as session:
            key = request.headers.get("idempotency-key")
            command = CommandContext(session, resources, caller, locale_of(request), response, key)
            out = await _ask(command, request.path_params["type"], JobKind.LAUNCH)
        return Response(out.model_dump_json(), response.status_code, media_type="application/json")

    return await answer_scoped_user(request, PRINCIPAL, answer)


@router.post(
    "/{type:template}/restart",
    status_code=202,
    summary="Restart a workspace",
    operation_id="restart_workspace",
    responses=STARTS,
)
async def restart(type: TypePath, command: CommandContextDep) -> LaunchOut:
    """Creates a new container with the same volume, from the current image."""
    return await _ask(command, type, JobKind.RESTART)


@router.post(
    "/{type:template}/stop",
    status_code=202,
    summary="Stop a workspace",
    operation_id="stop_workspace",
    responses={**_nothing("It does not run"), **ENDS},
)
async def stop(type: TypePath, command: CommandContextDep) -> LaunchOut:
    """Ends its programs; keeps container and volume. Replaces a launch in progress."""
    return await _ask(command, type, JobKind.STOP)


@router.post(
    "/{type:template}/extend",
    summary="Extend a workspace's idle time",
    operation_id="extend_workspace",
    responses=problems(
        InvalidRequest,
        UnknownTemplate,
        UntilOutOfRange,
        Unauthorized,
        Forbidden,
        NotFound,
        NotExtendable,
        RequestStalled,
        TooLarge,
        Unavailable,
    ),
)
async def extend(
    type: TypePath,
    session: SessionDep,
    resources: ResourcesDep,
    caller: ScopedUserDep,
    locale: LocaleDep,
    body: ExtendIn | None = None,
) -> WorkspaceOut:
    """Counts as use now, for a running or paused workspace; its longest life stays unchanged.

    With `until`, it is neither paused nor stopped for being idle before then: for a program that sleeps or waits. A
    paused workspace resumes, shown by `job`. A new `until` replaces the earlier one; restart, stop and delete end it.
    """
    await idle.extend(session, resources, caller.user, type, body.until if body else None)
    template = templates.find_template(resources.catalog, type)
    return await views.view_workspace(session, resources, caller.user, template, locale)


@router.delete(
    "/{type:template}",
    status_code=202,
    summary="Delete a workspace",
    operation_id="delete_workspace",
    responses={**_nothing("There is nothing to delete"), **ENDS},
)
async def delete(
    type: TypePath,
    command: CommandContextDep,
    volume: Annotated[
        VolumePolicy, Query(description="`keep` keeps the files for a later launch, until their retention ends.")
    ] = VolumePolicy.KEEP,
) -> LaunchOut:
    """Removes the container and, with `volume=delete`, the files at once."""
    return await _ask(command, type, JobKind.DELETE, volume=volume)


@router.get(
    "/{type:template}",
    summary="Get a workspace",
    operation_id="get_workspace",
    responses=problems(UnknownTemplate, Unauthorized, Unavailable),
)
async def get_workspace(
    type: TypePath, resources: ResourcesDep, caller: ScopedUserDep, locale: LocaleDep
) -> WorkspaceOut:
    """The workspace, as in the list; `not_created` if never launched."""
    template = templates.find_template(resources.catalog, type)
    ((entry, _),) = await views.find_entries(resources, caller.user, [template], locale)
    return entry
