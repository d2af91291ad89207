"""The examples of `app.openapi_examples`, told to admins."""

from datetime import timedelta
from uuid import UUID

from app.admin.invitation_schemas import INVITATION_ID, InvitationOut, InvitationPage
from app.admin.schemas import AdminUserOut, EngineOut, MailOut, MailPage, OverviewOut, PromisedOut, UserPage
from app.errors import FieldError
from app.models import JobKind, LinkPurpose, LinkRequestState, UserState
from app.openapi_examples import NOW, USER_ID, Bodies, invalid

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
    waiting={},
    jobs={},
    failures={},
    engine=None,
    promised=PromisedOut(workspaces=0, memory_bytes=0, cpus=0),
)
BUSY = OverviewOut(
    running=12,
    paused=30,
    waiting={"capacity_memory": 3},
    jobs={JobKind.LAUNCH: 4, JobKind.STOP: 1},
    failures={"image_missing": 2, "probe_timeout": 1},
    engine=ENGINE,
    promised=PromisedOut(workspaces=43, memory_bytes=8 << 30, cpus=21.5),
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
}

INVALID: dict[str, FieldError] = {
    "list_users": invalid("limit", "less_than_equal", le=100),
    "limit_user": invalid("running_limit", "greater_than_equal", ge=0),
    "delete_user": invalid("id", "uuid_parsing"),
    "invite": invalid("email", "invalid_email"),
    "list_invitations": invalid("limit", "less_than_equal", le=100),
    "revoke_invitation": invalid("id", "uuid_parsing"),
    "list_mails": invalid("state", "enum"),
}
