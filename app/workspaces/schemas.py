"""Request and response bodies of workspaces and jobs."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.http.example_ids import JOB_ID
from app.models import JobKind, JobState, JobStep, WorkspaceStatus

VOLUME_ID = "c3d1f7e2-51a4-4b8e-8a55-2f0f7c1f9b64"
URL = "http://alice-hello.localhost:8080/"


class TimelineEntry(BaseModel):
    """One step of a job."""

    at: datetime
    step: JobStep
    detail: str | None = Field(None, examples=["12.4 of 80.1 MB"])


class JobFailure(BaseModel):
    """Why a job failed."""

    code: str = Field(examples=["image_missing"])
    message: str = Field(examples=["The image of this workspace is not on the server."])
    exit_code: int | None = Field(None, description="Of the container, if it ended.")
    log: list[str] | None = Field(None, description="The container's last lines; null in lists.")


class JobOut(BaseModel):
    """An accepted request to change a workspace."""

    id: UUID = Field(examples=[JOB_ID])
    kind: JobKind
    type: str = Field(examples=["hello"], description="Key of the template.")
    platform: bool = Field(
        False, description="Started by the platform: after idling, an unrequested exit or a cancellation."
    )
    state: JobState
    step: JobStep
    progress: int = Field(ge=0, le=100, description="Percent.", examples=[70])
    position: int | None = Field(None, description="Place in the queue, from 1; null once it runs.")
    eta_seconds: float | None = Field(
        None,
        description="Estimated seconds until it ends, from recent launches and the pace of the queue; null if unknown, "
        "such as before the queue's first launch is admitted.",
    )
    waits_for: str | None = Field(
        None, description="Code of the limit that it waits for.", examples=["capacity_memory"]
    )
    timeline: list[TimelineEntry]
    error: JobFailure | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class JobPage(BaseModel):
    """The caller's jobs, newest first."""

    jobs: list[JobOut]
    next: UUID | None = Field(None, description="Pass as `before` for the next page; null at the end.")


class LaunchOut(BaseModel):
    """The response to a launch, restart, stop or deletion."""

    message: str = Field(examples=["The workspace is starting."])
    job: JobOut | None
    status_url: str | None = Field(examples=[f"/api/jobs/{JOB_ID}"])
    service_url: str = Field(examples=[URL])
    container_id: str | None = Field(examples=["3f4e1c"])
    status: WorkspaceStatus = Field(examples=[WorkspaceStatus.QUEUED])


class StatusOut(BaseModel):
    """The default workspace's state."""

    container_id: str | None = Field(examples=["3f4e1c"])
    status: WorkspaceStatus | Literal["no_container"] = Field(
        examples=[WorkspaceStatus.RUNNING], description="`no_container` if there is none."
    )


class UseOut(BaseModel):
    """Thresholds of use besides requests: a workspace that exceeds one between two readings is in use."""

    cpu_share: float = Field(
        examples=[0.05], description="Share of one processor core. A program that sleeps or waits uses none."
    )
    bytes_a_minute: int = Field(examples=[4096], description="Sent and received, also by open websockets.")


class ExtendIn(BaseModel):
    """The time until which to keep a workspace awake."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"until": "2026-11-23T18:00:00Z"}]})
    until: AwareDatetime = Field(description="A future time, before `ends_at` and within a week.")


class IdleOut(BaseModel):
    """When an unused workspace pauses, stops and ends; null without such a limit in its template."""

    active_at: datetime = Field(description="Last use, by a request or by its own work.")
    kept_until: datetime | None = Field(None, description="Not paused or stopped for idling before; set by `extend`.")
    use: UseOut = Field(description="What counts as use.")
    pauses_at: datetime | None = Field(None, description="Paused then; the next request resumes it.")
    stops_at: datetime | None = Field(None, description="Stopped then.")
    ends_at: datetime | None = Field(None, description="Stopped then, whether used or not.")
    warning: Literal["pause", "stop", "end"] | None = Field(None, description="The next of these, if it is near.")


class RestOut(BaseModel):
    """Why the platform paused or stopped a workspace."""

    code: Literal["idle_pause", "idle_stop", "max_lifetime"]
    message: str = Field(examples=["Stopped because nobody used it."])


class LastExitOut(BaseModel):
    """The workspace's last exit that was not requested, also if it was restarted since."""

    code: str = Field(description="A failure code, or `ended` after exit code 0.", examples=["out_of_memory"])
    message: str = Field(examples=["The workspace ran out of memory."])
    exit_code: int | None = Field(description="Null if its container was gone.", examples=[137])
    at: datetime
    restarts: int = Field(description="Automatic restarts since it last ran for ten minutes.")


class MemoryKillsOut(BaseModel):
    """Programs that the kernel killed for memory since the container started."""

    count: int = Field(examples=[1])
    at: datetime = Field(description="Of the last one.")
    message: str = Field(examples=["Memory ran out, and the kernel ended a program in the workspace."])


class WorkspaceOut(BaseModel):
    """One template and the caller's workspace of it, launched or not."""

    type: str = Field(examples=["hello"])
    display_name: str = Field(examples=["Hello"])
    description: str = Field(examples=["A small page that shows where you are."])
    status: WorkspaceStatus = Field(examples=[WorkspaceStatus.RUNNING])
    service_url: str = Field(examples=[URL])
    container_id: str | None = None
    created_at: datetime | None = None
    last_used: datetime | None = None
    outdated: bool = Field(False, description="Whether a restart would use a newer image.")
    job: JobOut | None = Field(None, description="The live job, if any.")
    error: JobFailure | None = Field(None, description="Why the last job failed, or the workspace ended.")
    idle: IdleOut | None = Field(None, description="Its idle limits, while it runs or is paused.")
    last_exit: LastExitOut | None = Field(None, description="Its last unrequested exit; kept until it is deleted.")
    memory_kills: MemoryKillsOut | None = Field(None, description="Its programs that the kernel killed for memory.")
    rest: RestOut | None = Field(None, description="Why the platform paused or stopped it; cleared by the next start.")


class VolumeOut(BaseModel):
    """A workspace's files. They outlive it."""

    id: UUID = Field(examples=[VOLUME_ID])
    type: str = Field(examples=["jupyter"], description="Key of the template.")
    created_at: datetime
    delete_at: datetime | None = Field(description="Deleted then unless the workspace is launched again.")
    in_use: bool = Field(description="The workspace exists, running or not: delete it before its volume.")


class VolumesOut(BaseModel):
    """The caller's volumes, oldest first."""

    volumes: list[VolumeOut]


class WorkspacesOut(BaseModel):
    """One entry per template of the catalogue."""

    containers: list[WorkspaceOut]


class LogOut(BaseModel):
    """The last lines of a container's log, oldest first."""

    lines: list[str] = Field(examples=[["listening on port 8080"]])
