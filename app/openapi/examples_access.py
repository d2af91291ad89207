"""The examples of `app.openapi.examples`, about sharing."""

from datetime import timedelta
from uuid import UUID

from app.access.schemas import (
    LINK_ID,
    TOKEN,
    NewShareLinkOut,
    SharedListOut,
    SharedOut,
    ShareLinkOut,
    ShareLinksOut,
    ShareOut,
    SharesOut,
)
from app.http.params import SHARE_ID
from app.http.problems import FieldError
from app.models import WorkspaceStatus
from app.openapi.examples import NOW, Bodies, invalid
from app.workspaces.schemas import URL

_LINK = UUID(LINK_ID)
_TOMORROW = NOW + timedelta(hours=24)
_REASON = "Ticket 4711: the notebook does not save, asked to look."
BY_ADDRESS = ShareOut(id=UUID(SHARE_ID), email="bob@example.org", how="address", created_at=NOW, live=True)
BY_LINK = BY_ADDRESS.model_copy(
    update={"email": "carol@example.org", "how": "link", "link_id": _LINK, "expires_at": _TOMORROW}
)
BY_ADMIN = BY_ADDRESS.model_copy(
    update={
        "email": "root@example.org",
        "how": "admin",
        "reason": _REASON,
        "expires_at": NOW + timedelta(hours=1),
        "live": False,
    }
)
SHARED = SharedOut(
    id=UUID(SHARE_ID),
    owner="alice@example.org",
    type="hello",
    display_name="Hello",
    service_url=URL,
    status=WorkspaceStatus.RUNNING,
)
ACCEPTED = SHARED.model_copy(update={"expires_at": _TOMORROW})
ENTERED = SHARED.model_copy(update={"reason": _REASON, "expires_at": NOW + timedelta(hours=1)})

ANSWERS: dict[str, dict[str, Bodies]] = {
    "make_share": {"201": {"shared": BY_ADDRESS}},
    "list_shares": {"200": {"one_of_each": SharesOut(shares=[BY_ADMIN, BY_LINK, BY_ADDRESS])}},
    "make_share_link": {
        "201": {
            "made": NewShareLinkOut(
                id=_LINK, url=f"http://localhost:8080/share#token={TOKEN}", created_at=NOW, expires_at=_TOMORROW
            )
        }
    },
    "list_share_links": {
        "200": {"one": ShareLinksOut(links=[ShareLinkOut(id=_LINK, created_at=NOW, expires_at=_TOMORROW, accepted=1)])}
    },
    "list_shared": {"200": {"two": SharedListOut(shares=[SHARED, ENTERED])}},
    "accept_share": {"200": {"accepted": ACCEPTED, "own_workspace": SHARED.model_copy(update={"id": None})}},
    "take_access": {"201": {"entered": ENTERED}},
}

INVALID: dict[str, FieldError] = {
    "make_share": invalid("email", "invalid_email"),
    "make_share_link": invalid("hours", "less_than_equal", le=720),
    "revoke_share": invalid("id", "uuid_parsing"),
    "revoke_share_link": invalid("id", "uuid_parsing"),
    "leave_share": invalid("id", "uuid_parsing"),
    "accept_share": invalid("token", "missing"),
    "take_access": invalid("reason", "reason_too_short", min_length=10),
}
