"""The examples of `app.openapi.examples`, told to admins."""

from datetime import timedelta
from uuid import UUID

from app.admin.invitation_schemas import INVITATION_ID, InvitationOut, InvitationPage
from app.admin.schemas import (
    AdminJobOut,
    AdminJobPage,
    AdminLogOut,
    AdminUserOut,
    AdminWorkspaceOut,
    AdminWorkspacePage,
    EngineOut,
    MailOut,
    MailPage,
    OverviewOut,
    OwnerOut,
    PromisedOut,
    RequestedOut,
    UserPage,
    UserSessionOut,
    UserSessionPage,
)
from app.audit.export import MEDIA_TYPES, Format, head, lines
from app.audit.schemas import SESSION_ID, ActivityOut, ActivityPage, AuditOut, AuditPage
from app.health.processes import ProcessOut
from app.http.params import WORKSPACE_ID
from app.http.problems import FieldError
from app.models import JobKind, LinkPurpose, LinkRequestState, UserState, WorkspaceStatus
from app.openapi.examples import FAILED, NOW, QUEUED, READY, USER_ID, Bodies, invalid
from app.workspaces.schemas import URL, JobOut

MAIL_ID = UUID("5b7b2a0e-5d2c-4c63-9b7e-3f4b8f0d6a21")
ALICE = AdminUserOut(
    id=USER_ID,
    email="alice@example.org",
    slug="alice",
    is_admin=False,
    state=UserState.ACTIVE,
    blocked_at=None,
    running_limit=None,
    running=1,
    created_at=NOW - timedelta(days=30),
    last_used=NOW,
)
SENT = MailOut(
    id=MAIL_ID,
    address="alice@example.org",
    purpose=LinkPurpose.LOGIN,
    state=LinkRequestState.SENT,
    attempts=1,
    created_at=NOW,
    run_at=NOW + timedelta(seconds=30),
    expires_at=NOW + timedelta(minutes=10),
    finished_at=NOW + timedelta(seconds=1),
)
WAITING = SENT.model_copy(update={"state": LinkRequestState.QUEUED, "attempts": 3, "finished_at": None})
ENGINE = EngineOut(memory_bytes=8 << 30, cpus=4, disk_free_bytes=100 << 30, seen_at=NOW)
QUIET = OverviewOut(
    running=0,
    paused=0,
    queued=0,
    waiting={},
    jobs={},
    failures={},
    engine=None,
    promised=PromisedOut(workspaces=0, memory_bytes=0, cpus=0),
)
BUSY = OverviewOut(
    running=12,
    paused=30,
    queued=4,
    waiting={"capacity_memory": 3},
    jobs={JobKind.LAUNCH: 4, JobKind.STOP: 1},
    failures={"image_missing": 2, "probe_timeout": 1},
    engine=ENGINE,
    promised=PromisedOut(workspaces=43, memory_bytes=8 << 30, cpus=21.5),
    processes=[
        ProcessOut(kind="api", name="web1:4711:9f3c", catalog="5f0c2d9e1b7a", revision="0007"),
        ProcessOut(kind="worker", name="engine1:812:02b7", catalog="5f0c2d9e1b7a", revision="0007"),
    ],
)

INVITED = InvitationOut(
    id=UUID(INVITATION_ID),
    email="bob@example.org",
    inviter="root@example.org",
    created_at=NOW,
    expires_at=NOW + timedelta(days=7),
    accepted_at=None,
)
ACCEPTED = INVITED.model_copy(update={"accepted_at": NOW + timedelta(hours=2)})
OWNER = OwnerOut(id=USER_ID, email="alice@example.org", slug="alice")
SESSION = UserSessionOut(
    id=UUID(SESSION_ID),
    address="203.0.113.7",
    user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    created_at=NOW - timedelta(hours=2),
    seen_at=NOW,
    expires_at=NOW + timedelta(hours=10),
)
RUNNING = AdminWorkspaceOut(
    id=UUID(WORKSPACE_ID),
    owner=OWNER,
    type="hello",
    status=WorkspaceStatus.RUNNING,
    status_at=NOW,
    service_url=URL,
    container_id="3f4e1c5a9b0d",
    error_code=None,
    reserved_memory=64 << 20,
    reserved_cpus=0.5,
    job_id=None,
    created_at=NOW - timedelta(days=3),
    started_at=NOW,
    active_at=NOW,
    last_used=NOW,
)
CHANGING = RUNNING.model_copy(update={"status": WorkspaceStatus.QUEUED, "job_id": QUEUED.id})
REQUESTED = RequestedOut(job=QUEUED, status_url=f"/api/admin/jobs/{QUEUED.id}", workspace=CHANGING)
NOTHING = RequestedOut(job=None, status_url=None, workspace=RUNNING)


def _requested(kind: JobKind) -> dict[str, Bodies]:
    job = QUEUED.model_copy(update={"kind": kind})
    return {"202": {"accepted": REQUESTED.model_copy(update={"job": job}), "nothing_to_do": NOTHING}}


def _job(view: JobOut) -> AdminJobOut:
    return AdminJobOut(owner=OWNER, workspace_id=UUID(WORKSPACE_ID), job=view)


ROOT_ID = UUID("4d1c8e57-9a0b-4c3d-8e2f-6a7b5c4d3e2f")
BLOCKED = AuditOut(
    id=4711,
    at=NOW,
    actor_id=ROOT_ID,
    actor="root@example.org",
    action="user_blocked",
    target_kind="user",
    target=str(USER_ID),
    outcome="ok",
    address="203.0.113.7",
    request_id="5f0c2d9e1b7a4c38",
    detail="alice@example.org",
)
REFUSED = BLOCKED.model_copy(
    update={
        "id": 4710,
        "actor_id": USER_ID,
        "actor": "alice@example.org",
        "action": "request_refused",
        "target_kind": "route",
        "target": "GET /api/admin/users",
        "outcome": "not_admin",
        "detail": None,
    }
)
STOPPED = ActivityOut(
    id=4712,
    at=NOW,
    actor="root@example.org",
    mine=False,
    action="workspace_stop_requested",
    target_kind="workspace",
    target=WORKSPACE_ID,
    outcome="ok",
    detail="hello",
    address=None,
)

# Files, by operation and media type.
FILES: dict[str, dict[str, str]] = {
    "export_audit": {MEDIA_TYPES[kind]: head(kind) + lines(kind, [REFUSED, BLOCKED]) for kind in Format},
}

ANSWERS: dict[str, dict[str, Bodies]] = {
    "list_users": {"200": {"first_page": UserPage(users=[ALICE], next=USER_ID), "last_page": UserPage(users=[ALICE])}},
    "limit_user": {"200": {"limited": ALICE.model_copy(update={"running_limit": 20})}},
    "invite": {"200": {"invited": INVITED}},
    "list_invitations": {
        "200": {
            "waiting": InvitationPage(invitations=[INVITED], next=INVITED.id),
            "accepted": InvitationPage(invitations=[ACCEPTED]),
        }
    },
    "list_mails": {"200": {"sent": MailPage(mails=[SENT], next=MAIL_ID), "waiting": MailPage(mails=[WAITING])}},
    "overview": {"200": {"busy": BUSY, "nothing_yet": QUIET}},
    "get_user": {"200": {"active": ALICE}},
    "change_user": {"200": {"blocked": ALICE.model_copy(update={"blocked_at": NOW})}},
    "user_sessions": {"200": {"one": UserSessionPage(sessions=[SESSION])}},
    "list_workspaces": {"200": {"first_page": AdminWorkspacePage(workspaces=[RUNNING], next=UUID(WORKSPACE_ID))}},
    "stop_any": _requested(JobKind.STOP),
    "restart_any": _requested(JobKind.RESTART),
    "delete_any": _requested(JobKind.DELETE),
    "read_any_log": {"200": {"last_lines": AdminLogOut(lines=["listening on port 8080"])}},
    "list_all_jobs": {"200": {"last_page": AdminJobPage(jobs=[_job(READY), _job(FAILED)])}},
    "get_any_job": {"200": {"ended": _job(READY), "failed": _job(FAILED)}},
    "cancel_any_job": {"200": {"ended_already": _job(READY)}},
    "list_audit": {"200": {"first_page": AuditPage(entries=[BLOCKED, REFUSED], next=4710)}},
    "activity": {"200": {"last_page": ActivityPage(activity=[STOPPED])}},
}

INVALID: dict[str, FieldError] = {
    "list_users": invalid("limit", "less_than_equal", le=100),
    "limit_user": invalid("running_limit", "greater_than_equal", ge=0),
    "delete_user": invalid("id", "uuid_parsing"),
    "invite": invalid("email", "invalid_email"),
    "list_invitations": invalid("limit", "less_than_equal", le=100),
    "revoke_invitation": invalid("id", "uuid_parsing"),
    "list_mails": invalid("state", "enum"),
    "get_user": invalid("id", "uuid_parsing"),
    "change_user": invalid("id", "uuid_parsing"),
    "user_sessions": invalid("before", "uuid_parsing"),
    "end_user_session": invalid("session_id", "uuid_parsing"),
    "end_user_sessions": invalid("id", "uuid_parsing"),
    "list_workspaces": invalid("status", "enum"),
    "stop_any": invalid("id", "uuid_parsing"),
    "restart_any": invalid("id", "uuid_parsing"),
    "delete_any": invalid("volume", "enum"),
    "read_any_log": invalid("tail", "less_than_equal", le=2000),
    "list_all_jobs": invalid("state", "enum"),
    "get_any_job": invalid("id", "uuid_parsing"),
    "cancel_any_job": invalid("id", "uuid_parsing"),
    "list_audit": invalid("before", "int_parsing"),
    "export_audit": invalid("format", "enum"),
    "activity": invalid("limit", "less_than_equal", le=100),
}
