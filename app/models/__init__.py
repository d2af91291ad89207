"""Tables and their enums. Times are timezone-aware UTC; secrets are stored as keyed hashes."""

from app.models.access import Handoff, Share, ShareLink, WorkspaceCookie
from app.models.accounts import (
    ApiToken,
    Bootstrap,
    DeliveryState,
    Invitation,
    LinkPurpose,
    LinkRequest,
    LinkRequestState,
    MagicLink,
    Session,
    User,
    UserState,
)
from app.models.audit import AuditEntry
from app.models.columns import utcnow
from app.models.installation import Installation, RetiredWorkspace
from app.models.jobs import (
    HAS_LIVE_JOB,
    LIVE_JOB,
    LIVE_STATES,
    IdempotencyKey,
    Job,
    JobEvent,
    JobKind,
    JobState,
    JobStep,
)
from app.models.workspaces import (
    AdmissionPasses,
    DesiredState,
    EngineCapacity,
    Image,
    Network,
    Volume,
    Workspace,
    WorkspaceStatus,
)

__all__ = [
    "HAS_LIVE_JOB",
    "LIVE_JOB",
    "LIVE_STATES",
    "AdmissionPasses",
    "ApiToken",
    "AuditEntry",
    "Bootstrap",
    "DeliveryState",
    "DesiredState",
    "EngineCapacity",
    "Handoff",
    "IdempotencyKey",
    "Image",
    "Installation",
    "Invitation",
    "Job",
    "JobEvent",
    "JobKind",
    "JobState",
    "JobStep",
    "LinkPurpose",
    "LinkRequest",
    "LinkRequestState",
    "MagicLink",
    "Network",
    "RetiredWorkspace",
    "Session",
    "Share",
    "ShareLink",
    "User",
    "UserState",
    "Volume",
    "Workspace",
    "WorkspaceCookie",
    "WorkspaceStatus",
    "utcnow",
]
