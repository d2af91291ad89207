"""Every operation of the API, described once: how it is called, who may call it, and what it answers."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from pydantic import BaseModel

from app.access.schemas import AcceptIn, ShareIn, ShareLinkIn
from app.accounts.schemas import TokenIn
from app.admin.access_router import AccessIn
from app.admin.invitation_schemas import InvitationIn
from app.admin.schemas import LimitsIn
from app.auth.schemas import CodeIn, LinkIn, VerifyIn
from app.workspaces.schemas import ExtendIn
from tests.api.conftest import Scene

NOWHERE = "7b0c3c0e-6a44-4c7e-9f0e-1f6f6d3f0a11"
# What the places of a path are filled with.
PLACES = {"type": "hello", "id": NOWHERE, "session_id": NOWHERE, "change": "block"}

Request = dict[str, Any]


class Who(enum.Enum):
    """Who may call an operation, and the scopes of which a personal token needs one."""

    ANYBODY = "nobody is asked"
    USER = "a user, or their token with `workspaces`; with `read` where nothing is changed"
    PERSON = "a user, by no token"
    ADMIN = "an admin, or their token with `admin`"
    SIGNED_IN_ADMIN = "an admin, by no token"
    RECENT_ADMIN = "an admin who signed in lately, by no token"

    @property
    def is_admin(self) -> bool:
        return self in (Who.ADMIN, Who.SIGNED_IN_ADMIN, Who.RECENT_ADMIN)


ANYBODY, USER, PERSON = Who.ANYBODY, Who.USER, Who.PERSON
ADMIN, SIGNED_IN_ADMIN, RECENT_ADMIN = Who.ADMIN, Who.SIGNED_IN_ADMIN, Who.RECENT_ADMIN


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: its address, callers and answers. Errors that follow from the other fields are not repeated."""

    address: str
    who: Who
    statuses: set[int]
    errors: str = ""
    body: type[BaseModel] | None = None
    # A request that is refused as the document's example of `invalid_request` says.
    invalid: Request = field(default_factory=dict)

    @property
    def method(self) -> str:
        return self.address.partition(" ")[0]

    @property
    def path(self) -> str:
        return self.address.partition(" ")[2]

    @property
    def scopes(self) -> set[str] | None:
        """The scopes of which a personal token needs one; None where nobody is asked."""
        reading = {"read"} if self.method == "GET" else set()
        return {Who.ANYBODY: None, Who.USER: {"workspaces", *reading}, Who.ADMIN: {"admin"}}.get(self.who, set())

    @property
    def codes(self) -> set[str]:
        """The code of every error that it may answer."""
        found = set(self.errors.split())
        found |= {"unavailable"} if self.path.startswith("/api/") else set()
        found |= {"unauthorized", "insufficient_scope"} if self.who is not ANYBODY else set()
        found |= {"cross_site"} if self.method != "GET" else set()
        found |= {"not_admin"} if self.who.is_admin else set()
        found |= {"sign_in_again"} if self.who is RECENT_ADMIN else set()
        found |= {"too_large", "request_stalled"} if self.body else set()
        return found | ({"invalid_request"} if self.invalid else set())

    def url(self, places: Mapping[str, str]) -> str:
        """The path with its places filled."""
        return self.path.format_map({**PLACES, **places})

    def request(self, token: str | None = None) -> Request:
        """What the document's example sends, with a link's token where it takes one."""
        if self.body is None:
            return {"params": {"token": token or "x"}} if "/verify-" in self.path and self.method == "GET" else {}
        (example,) = self.body.model_json_schema()["examples"]
        return {"json": {**example, **({"token": token} if token and "token" in example else {})}}


NO_ID: Request = {"id": "x"}
LONG_KEY: Request = {"headers": {"Idempotency-Key": "k" * 256}}
EMPTY_KEY: Request = {"headers": {"Idempotency-Key": ""}}
NOTHING: Request = {"json": {}}
NO_ADDRESS: Request = {"json": {"email": "x"}}
FULL = "capacity_launches capacity_running capacity_memory capacity_cpu capacity_disk"
STARTS = f"idempotency_conflict quota_user_running too_many_changes {FULL}"
ENDS = "unknown_template not_found idempotency_conflict too_many_changes"
SHARES = "unknown_template not_found shared_origin too_many_shares too_many_changes"
LINKS = "rate_limited rate_limited_client"


def query(**params: object) -> Request:
    """A request with these parameters."""
    return {"params": params}


OPERATIONS: dict[str, Operation] = {
    "livez": Operation("GET /livez", ANYBODY, {200, 503}),
    "readyz": Operation("GET /readyz", ANYBODY, {200, 503}),
    "signup": Operation("POST /api/auth/signup", ANYBODY, {200}, LINKS, LinkIn, NO_ADDRESS),
    "login": Operation("POST /api/auth/login", ANYBODY, {200}, LINKS, LinkIn, NOTHING),
    "look_at_link": Operation("POST /api/auth/link", ANYBODY, {200}, "invalid_link", VerifyIn, NOTHING),
    "verify": Operation("POST /api/auth/verify", ANYBODY, {200}, "invalid_link blocked", VerifyIn, NOTHING),
    "verify_code": Operation("POST /api/auth/verify-code", ANYBODY, {200}, "invalid_code blocked", CodeIn, NOTHING),
    "verify_signup": Operation(
        "GET /api/auth/verify-signup",
        ANYBODY,
        {200, 303},
        "invalid_link blocked cross_site not_acceptable",
        invalid=query(),
    ),
    "verify_login": Operation(
        "GET /api/auth/verify-login",
        ANYBODY,
        {200, 303},
        "invalid_link blocked cross_site not_acceptable",
        invalid=query(token="x" * 201),
    ),
    "logout": Operation("POST /api/auth/logout", PERSON, {200}),
    "refresh": Operation("POST /api/auth/refresh", ANYBODY, {204}, "not_refreshed"),
    "list_sessions": Operation("GET /api/auth/sessions", PERSON, {200}),
    "end_others": Operation("DELETE /api/auth/sessions", PERSON, {204}),
    "end_session": Operation("DELETE /api/auth/sessions/{id}", PERSON, {204}, "not_found", invalid=NO_ID),
    "list_tokens": Operation("GET /api/auth/tokens", PERSON, {200}),
    "make_token": Operation(
        "POST /api/auth/tokens",
        PERSON,
        {201},
        "not_admin too_many_tokens too_many_changes",
        TokenIn,
        {"json": {"name": "backup", "scopes": ["read"]}},
    ),
    "revoke_token": Operation("DELETE /api/auth/tokens/{id}", PERSON, {204}, "not_found", invalid=NO_ID),
    "me": Operation("GET /api/user/me", USER, {200}),
    "list_containers": Operation("GET /api/user/containers", USER, {200}),
    "activity": Operation("GET /api/user/activity", USER, {200}, invalid=query(limit=101)),
    "list_templates": Operation("GET /api/templates", USER, {200}),
    "container_status": Operation("GET /api/container/status", USER, {200}),
    "container_restart": Operation("POST /api/container/restart", USER, {202}, STARTS, invalid=LONG_KEY),
    "container_launch": Operation(
        "POST /api/container/launch/{type}", USER, {200, 202}, f"unknown_template {STARTS}", invalid=EMPTY_KEY
    ),
    "restart_workspace": Operation(
        "POST /api/container/{type}/restart", USER, {202}, f"unknown_template {STARTS}", invalid=LONG_KEY
    ),
    "stop_workspace": Operation("POST /api/container/{type}/stop", USER, {200, 202}, ENDS, invalid=EMPTY_KEY),
    "extend_workspace": Operation(
        "POST /api/container/{type}/extend",
        USER,
        {200},
        "unknown_template not_found until_out_of_range not_extendable",
        ExtendIn,
        NOTHING,
    ),
    "delete_workspace": Operation("DELETE /api/container/{type}", USER, {200, 202}, ENDS, invalid=query(volume="both")),
    "get_workspace": Operation("GET /api/container/{type}", USER, {200}, "unknown_template"),
    "container_logs": Operation(
        "GET /api/container/{type}/logs",
        USER,
        {200, 204},
        "unknown_template no_container too_many_streams logs_unavailable",
        invalid=query(tail=2001),
    ),
    "list_jobs": Operation("GET /api/jobs", USER, {200}, "not_found", invalid=query(limit=101)),
    "get_job": Operation("GET /api/jobs/{id}", USER, {200, 304}, "not_found too_many_streams", invalid=query(wait=31)),
    "cancel_job": Operation("POST /api/jobs/{id}/cancel", USER, {200}, "not_found not_cancellable", invalid=NO_ID),
    "job_events": Operation("GET /api/jobs/{id}/events", USER, {200, 204}, "not_found too_many_streams", invalid=NO_ID),
    "list_volumes": Operation("GET /api/volumes", USER, {200}),
    "delete_volume": Operation("DELETE /api/volumes/{id}", USER, {204}, "not_found volume_in_use", invalid=NO_ID),
    "make_share": Operation("POST /api/container/{type}/shares", PERSON, {201}, SHARES, ShareIn, NO_ADDRESS),
    "list_shares": Operation("GET /api/container/{type}/shares", USER, {200}, "unknown_template"),
    "revoke_share": Operation(
        "DELETE /api/container/{type}/shares/{id}", PERSON, {204}, "unknown_template not_found", invalid=NO_ID
    ),
    "make_share_link": Operation(
        "POST /api/container/{type}/share-links", PERSON, {201}, SHARES, ShareLinkIn, {"json": {"hours": 721}}
    ),
    "list_share_links": Operation("GET /api/container/{type}/share-links", USER, {200}, "unknown_template"),
    "revoke_share_link": Operation(
        "DELETE /api/container/{type}/share-links/{id}", PERSON, {204}, "unknown_template not_found", invalid=NO_ID
    ),
    "list_shared": Operation("GET /api/user/shares", USER, {200}),
    "leave_share": Operation("DELETE /api/user/shares/{id}", PERSON, {204}, "not_found", invalid=NO_ID),
    "accept_share": Operation(
        "POST /api/shares/accept",
        PERSON,
        {200},
        "invalid_share_link shared_origin too_many_shares too_many_changes",
        AcceptIn,
        NOTHING,
    ),
    "list_mails": Operation("GET /api/admin/mails", ADMIN, {200}, "not_found", invalid=query(state="lost")),
    "overview": Operation("GET /api/admin/overview", ADMIN, {200}),
    "take_access": Operation(
        "POST /api/admin/workspaces/{id}/access",
        RECENT_ADMIN,
        {201},
        "not_found shared_origin",
        AccessIn,
        {"json": {"reason": "x"}},
    ),
    "invite": Operation("POST /api/admin/invitations", ADMIN, {200}, "has_account", InvitationIn, NO_ADDRESS),
    "list_invitations": Operation("GET /api/admin/invitations", ADMIN, {200}, "not_found", invalid=query(limit=101)),
    "revoke_invitation": Operation("DELETE /api/admin/invitations/{id}", ADMIN, {204}, "not_found", invalid=NO_ID),
    "list_users": Operation("GET /api/admin/users", ADMIN, {200}, "not_found", invalid=query(limit=101)),
    "get_user": Operation("GET /api/admin/users/{id}", ADMIN, {200}, "not_found", invalid=NO_ID),
    "delete_user": Operation(
        "DELETE /api/admin/users/{id}", RECENT_ADMIN, {204}, "not_found last_admin", invalid=NO_ID
    ),
    "limit_user": Operation(
        "PUT /api/admin/users/{id}/limits", ADMIN, {200}, "not_found", LimitsIn, {"json": {"running_limit": -1}}
    ),
    "change_user": Operation(
        "POST /api/admin/users/{id}/{change}", RECENT_ADMIN, {200}, "not_found last_admin", invalid=NO_ID
    ),
    "user_sessions": Operation(
        "GET /api/admin/users/{id}/sessions", ADMIN, {200}, "not_found", invalid=query(before="x")
    ),
    "end_user_sessions": Operation(
        "DELETE /api/admin/users/{id}/sessions", SIGNED_IN_ADMIN, {204}, "not_found", invalid=NO_ID
    ),
    "end_user_session": Operation(
        "DELETE /api/admin/users/{id}/sessions/{session_id}",
        SIGNED_IN_ADMIN,
        {204},
        "not_found",
        invalid={"session_id": "x"},
    ),
    "list_workspaces": Operation("GET /api/admin/workspaces", ADMIN, {200}, "not_found", invalid=query(status="lost")),
    "stop_any": Operation("POST /api/admin/workspaces/{id}/stop", ADMIN, {202}, "not_found", invalid=NO_ID),
    "restart_any": Operation(
        "POST /api/admin/workspaces/{id}/restart",
        ADMIN,
        {202},
        f"not_found unknown_template quota_user_running {FULL}",
        invalid=NO_ID,
    ),
    "delete_any": Operation(
        "DELETE /api/admin/workspaces/{id}", ADMIN, {202}, "not_found", invalid=query(volume="both")
    ),
    "read_any_log": Operation(
        "GET /api/admin/workspaces/{id}/logs",
        ADMIN,
        {200},
        "not_found no_container logs_unavailable",
        invalid=query(tail=2001),
    ),
    "list_all_jobs": Operation("GET /api/admin/jobs", ADMIN, {200}, "not_found", invalid=query(state="lost")),
    "get_any_job": Operation("GET /api/admin/jobs/{id}", ADMIN, {200}, "not_found", invalid=NO_ID),
    "cancel_any_job": Operation(
        "POST /api/admin/jobs/{id}/cancel", ADMIN, {200}, "not_found not_cancellable", invalid=NO_ID
    ),
    "list_audit": Operation("GET /api/admin/audit", ADMIN, {200}, invalid=query(before="x")),
    "export_audit": Operation("GET /api/admin/audit/export", ADMIN, {200}, invalid=query(format="x")),
}
# An operation's answer: its name, and the status, or the code of the error.
Answer = tuple[str, int | str]
ANSWERS: set[Answer] = {
    *((name, status) for name, operation in OPERATIONS.items() for status in operation.statuses),
    *((name, code) for name, operation in OPERATIONS.items() for code in operation.codes),
}
# GET requests that spend a link.
BY_QUERY = ("verify_signup", "verify_login")


def own_headers(scene: Scene, name: str) -> dict[str, str]:
    """What alice, or an admin, identifies herself with; nothing where nobody is asked."""
    who = OPERATIONS[name].who
    if who is ANYBODY:
        return {}
    return (scene.admin if who.is_admin else scene.alice).headers


async def call(
    scene: Scene,
    name: str,
    *,
    client: httpx.AsyncClient | None = None,
    own: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    **request: Any,
) -> httpx.Response:
    """Call an operation in the scene's language, as alice or an admin, unless `own` says as whom.

    `id`, `type`, `session_id` and `change` fill places of the path.
    """
    places = {place: str(request.pop(place)) for place in PLACES if place in request}
    sent = {"Accept": "application/json"} if name in BY_QUERY else {}
    sent |= own_headers(scene, name) if own is None else own
    sent |= {**(headers or {}), "Accept-Language": scene.locale}
    operation = OPERATIONS[name]
    return await (client or scene.client).request(operation.method, operation.url(places), headers=sent, **request)


async def send_good(scene: Scene, name: str, token: str | None = None, **more: Any) -> httpx.Response:
    """Call an operation with a request that fits its schema."""
    return await call(scene, name, **OPERATIONS[name].request(token), **more)
