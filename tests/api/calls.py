"""Every operation, and how it is called."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx

from app.http.patience import HEADER
from tests.api.conftest import Scene

NOWHERE = "7b0c3c0e-6a44-4c7e-9f0e-1f6f6d3f0a11"
ADDRESS = "alice@example.org"

# Method and path of every operation; `{job}` is one of alice's jobs.
CALLS: dict[str, tuple[str, str]] = {
    "livez": ("GET", "/livez"),
    "readyz": ("GET", "/readyz"),
    "signup": ("POST", "/api/auth/signup"),
    "login": ("POST", "/api/auth/login"),
    "verify": ("POST", "/api/auth/verify"),
    "verify_signup": ("GET", "/api/auth/verify-signup"),
    "verify_login": ("GET", "/api/auth/verify-login"),
    "look_at_link": ("POST", "/api/auth/link"),
    "verify_code": ("POST", "/api/auth/verify-code"),
    "logout": ("POST", "/api/auth/logout"),
    "refresh": ("POST", "/api/auth/refresh"),
    "list_sessions": ("GET", "/api/auth/sessions"),
    "end_session": ("DELETE", f"/api/auth/sessions/{NOWHERE}"),
    "end_others": ("DELETE", "/api/auth/sessions"),
    "make_token": ("POST", "/api/auth/tokens"),
    "list_tokens": ("GET", "/api/auth/tokens"),
    "revoke_token": ("DELETE", f"/api/auth/tokens/{NOWHERE}"),
    "me": ("GET", "/api/user/me"),
    "list_containers": ("GET", "/api/user/containers"),
    "list_templates": ("GET", "/api/templates"),
    "container_status": ("GET", "/api/container/status"),
    "container_restart": ("POST", "/api/container/restart"),
    "container_launch": ("POST", "/api/container/launch/hello"),
    "restart_workspace": ("POST", "/api/container/hello/restart"),
    "stop_workspace": ("POST", "/api/container/hello/stop"),
    "extend_workspace": ("POST", "/api/container/hello/extend"),
    "delete_workspace": ("DELETE", "/api/container/hello"),
    "get_workspace": ("GET", "/api/container/hello"),
    "list_volumes": ("GET", "/api/volumes"),
    "delete_volume": ("DELETE", f"/api/volumes/{NOWHERE}"),
    "make_share": ("POST", "/api/container/hello/shares"),
    "list_shares": ("GET", "/api/container/hello/shares"),
    "revoke_share": ("DELETE", f"/api/container/hello/shares/{NOWHERE}"),
    "make_share_link": ("POST", "/api/container/hello/share-links"),
    "list_share_links": ("GET", "/api/container/hello/share-links"),
    "revoke_share_link": ("DELETE", f"/api/container/hello/share-links/{NOWHERE}"),
    "list_shared": ("GET", "/api/user/shares"),
    "leave_share": ("DELETE", f"/api/user/shares/{NOWHERE}"),
    "accept_share": ("POST", "/api/shares/accept"),
    "take_access": ("POST", f"/api/admin/workspaces/{NOWHERE}/access"),
    "list_users": ("GET", "/api/admin/users"),
    "limit_user": ("PUT", f"/api/admin/users/{NOWHERE}/limits"),
    "delete_user": ("DELETE", f"/api/admin/users/{NOWHERE}"),
    "list_mails": ("GET", "/api/admin/mails"),
    "invite": ("POST", "/api/admin/invitations"),
    "list_invitations": ("GET", "/api/admin/invitations"),
    "revoke_invitation": ("DELETE", f"/api/admin/invitations/{NOWHERE}"),
    "overview": ("GET", "/api/admin/overview"),
    "get_user": ("GET", f"/api/admin/users/{NOWHERE}"),
    "change_user": ("POST", f"/api/admin/users/{NOWHERE}/block"),
    "user_sessions": ("GET", f"/api/admin/users/{NOWHERE}/sessions"),
    "end_user_session": ("DELETE", f"/api/admin/users/{NOWHERE}/sessions/{NOWHERE}"),
    "end_user_sessions": ("DELETE", f"/api/admin/users/{NOWHERE}/sessions"),
    "list_workspaces": ("GET", "/api/admin/workspaces"),
    "stop_any": ("POST", f"/api/admin/workspaces/{NOWHERE}/stop"),
    "restart_any": ("POST", f"/api/admin/workspaces/{NOWHERE}/restart"),
    "delete_any": ("DELETE", f"/api/admin/workspaces/{NOWHERE}"),
    "read_any_log": ("GET", f"/api/admin/workspaces/{NOWHERE}/logs"),
    "list_all_jobs": ("GET", "/api/admin/jobs"),
    "get_any_job": ("GET", f"/api/admin/jobs/{NOWHERE}"),
    "cancel_any_job": ("POST", f"/api/admin/jobs/{NOWHERE}/cancel"),
    "list_audit": ("GET", "/api/admin/audit"),
    "export_audit": ("GET", "/api/admin/audit/export"),
    "activity": ("GET", "/api/user/activity"),
    "list_jobs": ("GET", "/api/jobs"),
    "get_job": ("GET", f"/api/jobs/{NOWHERE}"),
    "cancel_job": ("POST", f"/api/jobs/{NOWHERE}/cancel"),
    "job_events": ("GET", f"/api/jobs/{NOWHERE}/events"),
    "container_logs": ("GET", "/api/container/hello/logs"),
}
ASKING = ("signup", "login")
BY_QUERY = ("verify_signup", "verify_login")
SPENDING = ("verify", *BY_QUERY)
SIGNING_IN = (*ASKING, *SPENDING, "verify_code", "look_at_link")
STARTING = ("container_restart", "container_launch", "restart_workspace")
ENDING = ("stop_workspace", "delete_workspace")
ACCEPTING = (*STARTING, *ENDING)
# What no personal token opens.
PERSONAL = ("logout", "list_sessions", "end_session", "end_others", "make_token", "list_tokens", "revoke_token")
SHARING = ("make_share", "make_share_link")
UNSHARING = ("revoke_share", "revoke_share_link", "leave_share")
CHANGING = (
    "logout",
    "end_session",
    "end_others",
    "make_token",
    "revoke_token",
    *ACCEPTING,
    "extend_workspace",
    "cancel_job",
    "delete_volume",
    *SHARING,
    *UNSHARING,
    "accept_share",
)
READING = (
    "list_sessions",
    "list_tokens",
    "me",
    "activity",
    "list_containers",
    "list_templates",
    "container_status",
    "get_workspace",
    "list_volumes",
    "list_jobs",
    "get_job",
    "job_events",
    "container_logs",
    "list_shares",
    "list_share_links",
    "list_shared",
)
SILENT = (
    "delete_volume",
    "delete_user",
    "refresh",
    "end_session",
    "end_others",
    "make_token",
    "revoke_token",
    "revoke_invitation",
    "end_user_session",
    "end_user_sessions",
    *UNSHARING,
)
MAKING = (*SHARING, "take_access")
STREAMING = ("job_events", "container_logs")
ANYBODYS = ("stop_any", "restart_any", "delete_any")
ADMINISTERING = (
    "limit_user",
    "delete_user",
    "change_user",
    "end_user_session",
    "end_user_sessions",
    "cancel_any_job",
    "invite",
    "revoke_invitation",
    "take_access",
    *ANYBODYS,
)
LOOKING = (
    "list_users",
    "list_mails",
    "list_invitations",
    "overview",
    "get_user",
    "user_sessions",
    "list_workspaces",
    "read_any_log",
    "list_all_jobs",
    "get_any_job",
    "list_audit",
    "export_audit",
)
ADMIN = (*ADMINISTERING, *LOOKING)
SIGNED_IN = (*CHANGING, *READING, *ADMIN)
BODIES: dict[str, dict[str, Any]] = {
    "make_share": {"email": "bob@example.org"},
    "make_share_link": {"hours": 24},
    "take_access": {"reason": "The owner asked for help."},
}
# What an error's text is filled with when it is provoked.
VALUES: dict[str, dict[str, object]] = {"quota_user_running": {"limit": 1}, "too_many_tokens": {"limit": 50}}


async def call(scene: Scene, name: str, *, client: httpx.AsyncClient | None = None, **request: Any) -> httpx.Response:
    """Call an operation as alice or an admin, unless headers are given, in the scene's language."""
    method, path = CALLS[name]
    who = scene.admin if name in ADMIN else scene.alice
    headers = request.pop("headers", who.headers if name in SIGNED_IN else {})
    by_name = {"Accept": "application/json"} if name in BY_QUERY else {}
    headers = {**by_name, **headers, "Accept-Language": scene.locale}
    return await (client or scene.client).request(method, request.pop("path", path), headers=headers, **request)


async def stands_still(name: str, scene: Scene) -> httpx.Response:
    """Sends the beginning of a body, with the limit that the proxy names."""

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    who = (scene.admin if name in ADMIN else scene.alice).headers if name in SIGNED_IN else {}
    headers = {**who, HEADER: "100ms", "Content-Type": "application/json"}
    return await call(scene, name, content=body(), headers=headers)


def good(name: str, token: str = "x") -> dict[str, Any]:
    """A body or query that an operation accepts."""
    if name in ASKING:
        return {"json": {"email": ADDRESS}}
    if name == "invite":
        return {"json": {"email": "bob@example.org"}}
    if name == "verify_code":
        return {"json": {"code": "7K2M-Q9XD"}}
    if name in BY_QUERY:
        return {"params": {"token": token}}
    if name == "make_token":
        return {"json": {"name": "backup", "scopes": ["read"], "days": 30}}
    if name == "limit_user":
        return {"json": {"running_limit": 2}}
    if name in BODIES:
        return {"json": BODIES[name]}
    return {"json": {"token": token}} if name in ("verify", "look_at_link", "accept_share") else {}
