"""A complete example for every body that the API sends or takes: one story, told by operation and status."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from pydantic import BaseModel

from app.auth.me_schemas import DefaultContainer, MeOut, UserOut
from app.auth.router import SENT, SIGNED_OUT
from app.auth.schemas import LinkOut, MessageOut, NextOut, SignedInUser, TokenOut
from app.catalog.schemas import TemplateOut, TemplatesOut
from app.health.service import Liveness, Readiness
from app.http.params import JOB_ID
from app.http.problems import FIELD_TEXTS, FieldError
from app.models import JobKind, JobState, JobStep, UserState, WorkspaceStatus
from app.workspaces.errors import FAILURES
from app.workspaces.router import ALREADY, AT_REST, UNDER_WAY
from app.workspaces.schemas import (
    URL,
    VOLUME_ID,
    IdleOut,
    JobFailure,
    JobOut,
    JobPage,
    LaunchOut,
    LogOut,
    StatusOut,
    TimelineEntry,
    UseOut,
    VolumeOut,
    VolumesOut,
    WorkspaceOut,
    WorkspacesOut,
)

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
USER_ID = UUID("0f2a9a53-0c0e-4f6e-8a35-6b1d2c9b7e10")
CONTAINER = "3f4e1c5a9b0d"
TOKEN = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjFmNmI2MzZjIiwidHlwIjoiYXQrand0In0.eyJzdWIiOiIwZjJhOWE1MyJ9.MEUCIQ"  # noqa: S105 # nosec B105
HELLO = ("Hello", "A small page that shows who and where you are, and answers over a websocket.")
JUPYTER = ("JupyterLab", "Notebooks, Python and a terminal. Your home directory is kept.")


def _at(milliseconds: int) -> datetime:
    return NOW + timedelta(milliseconds=milliseconds)


QUEUED = JobOut(
    id=UUID(JOB_ID),
    kind=JobKind.LAUNCH,
    type="hello",
    state=JobState.QUEUED,
    step=JobStep.QUEUED,
    progress=0,
    position=1,
    eta_seconds=0.6,
    timeline=[TimelineEntry(at=NOW, step=JobStep.QUEUED)],
    created_at=NOW,
)
STEPS = {
    JobStep.QUEUED: 0,
    JobStep.CLAIMED: 21,
    JobStep.CREATING: 30,
    JobStep.STARTING: 62,
    JobStep.PROBING: 391,
    JobStep.READY: 402,
}
READY = QUEUED.model_copy(
    update={
        "state": JobState.SUCCEEDED,
        "step": JobStep.READY,
        "progress": 100,
        "position": None,
        "eta_seconds": None,
        "timeline": [TimelineEntry(at=_at(offset), step=step) for step, offset in STEPS.items()],
        "started_at": _at(21),
        "finished_at": _at(402),
    }
)
PULLING = QUEUED.model_copy(
    update={
        "type": "jupyter",
        "state": JobState.RUNNING,
        "step": JobStep.PULLING,
        "progress": 18,
        "position": None,
        "timeline": [
            TimelineEntry(at=NOW, step=JobStep.QUEUED),
            TimelineEntry(at=_at(21), step=JobStep.CLAIMED),
            TimelineEntry(at=_at(30), step=JobStep.PULLING, detail="12.4 of 80.1 MB"),
        ],
        "started_at": _at(21),
    }
)
MISSING = JobFailure(code="image_missing", message=FAILURES["image_missing"].en)
FAILED = PULLING.model_copy(
    update={
        "state": JobState.FAILED,
        "step": JobStep.FAILED,
        "eta_seconds": None,
        "timeline": [
            TimelineEntry(at=NOW, step=JobStep.QUEUED),
            TimelineEntry(at=_at(21), step=JobStep.CLAIMED),
            TimelineEntry(at=_at(48), step=JobStep.FAILED, detail="image_missing"),
        ],
        "error": MISSING,
        "finished_at": _at(48),
    }
)
WAITING = QUEUED.model_copy(
    update={
        "position": 3,
        "eta_seconds": None,
        "waits_for": "capacity_memory",
        "timeline": [TimelineEntry(at=NOW, step=JobStep.QUEUED, detail="capacity_memory")],
    }
)
ENDED = QUEUED.model_copy(
    update={
        "state": JobState.FAILED,
        "step": JobStep.FAILED,
        "position": None,
        "eta_seconds": None,
        "timeline": [
            *(TimelineEntry(at=_at(offset), step=step) for step, offset in list(STEPS.items())[:-1]),
            TimelineEntry(at=_at(804), step=JobStep.FAILED, detail="exit code 3"),
        ],
        "error": JobFailure(
            code="exited", message=FAILURES["exited"].en, exit_code=3, log=["server: cannot read /data/settings"]
        ),
        "started_at": _at(21),
        "finished_at": _at(804),
    }
)
CANCELLED = QUEUED.model_copy(
    update={
        "state": JobState.CANCELLED,
        "step": JobStep.CANCELLED,
        "position": None,
        "eta_seconds": None,
        "timeline": [TimelineEntry(at=NOW, step=JobStep.QUEUED), TimelineEntry(at=_at(900), step=JobStep.CANCELLED)],
        "error": JobFailure(code="cancelled", message=FAILURES["cancelled"].en),
        "finished_at": _at(900),
    }
)
RESTARTING = QUEUED.model_copy(update={"kind": JobKind.RESTART})
STOPPING = QUEUED.model_copy(update={"kind": JobKind.STOP, "eta_seconds": None})
DELETING = QUEUED.model_copy(update={"kind": JobKind.DELETE, "eta_seconds": None})

SIGNED_IN = TokenOut(
    access_token=TOKEN,
    expires_in=3600,
    user=SignedInUser(
        id=USER_ID,
        email="alice@example.org",
        slug="alice",
        is_admin=False,
        state=UserState.VERIFIED,
        container_id=None,
    ),
    job=QUEUED,
)


def _launched(job: JobOut | None, status: WorkspaceStatus, container: str | None) -> LaunchOut:
    nothing = ALREADY if status == WorkspaceStatus.RUNNING else AT_REST
    return LaunchOut(
        message=(UNDER_WAY[job.kind] if job else nothing).en,
        job=job,
        status_url=f"/api/jobs/{job.id}" if job else None,
        service_url=URL,
        container_id=container,
        status=status,
    )


ME = MeOut(
    user=UserOut(
        id=USER_ID,
        email="alice@example.org",
        slug="alice",
        is_admin=False,
        state=UserState.ACTIVE,
        last_used=NOW,
        created_at=NOW - timedelta(days=30),
    ),
    container=DefaultContainer(id=CONTAINER, port=8080, status=WorkspaceStatus.RUNNING, service_url=URL),
)
CONTAINERS = WorkspacesOut(
    containers=[
        WorkspaceOut(
            type="hello",
            display_name=HELLO[0],
            description=HELLO[1],
            status=WorkspaceStatus.RUNNING,
            service_url=URL,
            container_id=CONTAINER,
            created_at=NOW - timedelta(days=30),
            last_used=NOW,
        ),
        WorkspaceOut(
            type="jupyter",
            display_name=JUPYTER[0],
            description=JUPYTER[1],
            status=WorkspaceStatus.ERROR,
            service_url="http://alice-jupyter.localhost:8080/",
            created_at=NOW,
            last_used=NOW,
            error=MISSING,
        ),
    ]
)
EXTENDED = CONTAINERS.containers[0].model_copy(
    update={
        "type": "jupyter",
        "display_name": JUPYTER[0],
        "description": JUPYTER[1],
        "service_url": "http://alice-jupyter.localhost:8080/",
        "idle": IdleOut(
            active_at=NOW,
            use=UseOut(cpu_share=0.05, bytes_a_minute=4096),
            pauses_at=NOW + timedelta(hours=1),
            stops_at=NOW + timedelta(days=1),
            warning=None,
        ),
    }
)
TEMPLATES = TemplatesOut(
    templates=[
        TemplateOut(
            type="hello",
            display_name=HELLO[0],
            description=HELLO[1],
            default=True,
            memory_bytes=64 << 20,
            cpus=0.5,
            keeps_files=False,
        ),
        TemplateOut(
            type="jupyter",
            display_name=JUPYTER[0],
            description=JUPYTER[1],
            default=False,
            memory_bytes=1 << 30,
            cpus=1,
            keeps_files=True,
            image="building",
        ),
    ]
)
LINES = ["listening on port 8080", "10.213.0.1 GET / 200"]

VOLUME = VolumeOut(id=UUID(VOLUME_ID), type="jupyter", created_at=NOW - timedelta(days=30), delete_at=None, in_use=True)
KEPT = VOLUME.model_copy(update={"delete_at": NOW + timedelta(days=30), "in_use": False})

Bodies = dict[str, BaseModel]

# By operationId and status; each body stands under what it shows.
ANSWERS: dict[str, dict[str, Bodies]] = {
    "livez": {"200": {"alive": Liveness()}, "503": {"failing": Liveness(status="failing")}},
    "readyz": {
        "200": {"ready": Readiness(ready=True, database="ok", tables="ok", redis="ok", engine="ok", workers=2)},
        "503": {
            "no_worker": Readiness(ready=False, database="ok", tables="ok", redis="ok", engine="down", workers=0),
            "database_down": Readiness(ready=False, database="down", redis="ok", engine="ok", workers=2),
        },
    },
    "signup": {"200": {"asked": MessageOut(message=SENT.en)}},
    "login": {"200": {"asked": MessageOut(message=SENT.en)}},
    **{name: {"200": {"signed_in": SIGNED_IN}} for name in ("verify", "verify_code", "verify_signup", "verify_login")},
    "look_at_link": {
        "200": {
            "recognised": LinkOut(
                recognised=True,
                address="alice@example.org",
                next=NextOut(
                    url="/open/alice-hello?next=%2Flab#cell-3",
                    text="Then it goes on to /lab in your workspace Hello.",
                    foreign=False,
                ),
            ),
            "another_browser": LinkOut(recognised=False, address="a•••@example.org"),
        }
    },
    "logout": {"200": {"signed_out": MessageOut(message=SIGNED_OUT.en)}},
    "me": {"200": {"active": ME}},
    "list_containers": {"200": {"one_failed": CONTAINERS}},
    "list_templates": {"200": {"catalogue": TEMPLATES}},
    "container_status": {
        "200": {
            "running": StatusOut(container_id=CONTAINER, status=WorkspaceStatus.RUNNING),
            "never_launched": StatusOut(container_id=None, status="no_container"),
        }
    },
    "container_restart": {"202": {"accepted": _launched(RESTARTING, WorkspaceStatus.QUEUED, CONTAINER)}},
    "container_launch": {
        "200": {"running": _launched(None, WorkspaceStatus.RUNNING, CONTAINER)},
        "202": {
            "accepted": _launched(QUEUED, WorkspaceStatus.QUEUED, None),
            "waits_for_room": _launched(WAITING, WorkspaceStatus.QUEUED, None),
        },
    },
    "restart_workspace": {"202": {"accepted": _launched(RESTARTING, WorkspaceStatus.QUEUED, CONTAINER)}},
    "stop_workspace": {
        "200": {"stopped": _launched(None, WorkspaceStatus.STOPPED, CONTAINER)},
        "202": {"accepted": _launched(STOPPING, WorkspaceStatus.STOPPING, CONTAINER)},
    },
    "delete_workspace": {
        "200": {"deleted": _launched(None, WorkspaceStatus.NOT_CREATED, None)},
        "202": {"accepted": _launched(DELETING, WorkspaceStatus.DELETING, CONTAINER)},
    },
    "get_workspace": {"200": {"running": CONTAINERS.containers[0], "failed": CONTAINERS.containers[1]}},
    "extend_workspace": {"200": {"extended": EXTENDED}},
    "list_jobs": {"200": {"first_page": JobPage(jobs=[READY], next=READY.id), "last_page": JobPage(jobs=[FAILED])}},
    "get_job": {
        "200": {
            "queued": QUEUED,
            "waits_for_room": WAITING,
            "running": PULLING,
            "succeeded": READY,
            "failed": FAILED,
            "ended_by_itself": ENDED,
        }
    },
    "list_volumes": {"200": {"in_use": VolumesOut(volumes=[VOLUME]), "kept": VolumesOut(volumes=[KEPT])}},
    "cancel_job": {"200": {"cancelled": CANCELLED, "over_already": READY}},
    "container_logs": {"200": {"last_lines": LogOut(lines=LINES)}},
}

# What a whole stream looks like, by operationId.
STREAMS: dict[str, str] = {
    "job_events": "retry: 1000\n\n"
    + "".join(
        f"event: job\ndata: {job.model_dump_json()}\nid: {tag}\n\n"
        for job, tag in ((QUEUED, '"1.1.en"'), (READY, '"7.0.en"'))
    ),
    "container_logs": "retry: 1000\n\n"
    + "".join(
        f'event: log\ndata: {{"line": "{line}"}}\nid: 1795426200000-{index}\n\n' for index, line in enumerate(LINES)
    )
    + ": ping\n\nevent: end\ndata: {}\nid: end\n\n",
}


def invalid(field: str, code: str, **limits: int) -> FieldError:
    """One complaint, as the API words it."""
    return FieldError(field=field, code=code, message=FIELD_TEXTS[code].en.format(**limits))


# What `invalid_request` complains of, by operationId.
INVALID: dict[str, FieldError] = {
    "signup": invalid("email", "invalid_email"),
    "login": invalid("email", "missing"),
    "verify": invalid("token", "missing"),
    "verify_code": invalid("code", "missing"),
    "look_at_link": invalid("token", "missing"),
    "verify_signup": invalid("token", "missing"),
    "verify_login": invalid("token", "string_too_long", max_length=200),
    "container_restart": invalid("Idempotency-Key", "string_too_long", max_length=255),
    "container_launch": invalid("Idempotency-Key", "string_too_short"),
    "restart_workspace": invalid("Idempotency-Key", "string_too_long", max_length=255),
    "stop_workspace": invalid("Idempotency-Key", "string_too_short"),
    "delete_workspace": invalid("volume", "enum"),
    "extend_workspace": invalid("until", "missing"),
    "delete_volume": invalid("id", "uuid_parsing"),
    "cancel_job": invalid("id", "uuid_parsing"),
    "job_events": invalid("id", "uuid_parsing"),
    "container_logs": invalid("tail", "less_than_equal", le=2000),
    "list_jobs": invalid("limit", "less_than_equal", le=100),
    "get_job": invalid("wait", "less_than_equal", le=30),
}
