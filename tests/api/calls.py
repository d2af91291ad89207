"""Every operation, and how it is called."""

from typing import Any

import httpx

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
    "list_users": ("GET", "/api/admin/users"),
    "limit_user": ("PUT", f"/api/admin/users/{NOWHERE}/limits"),
    "delete_user": ("DELETE", f"/api/admin/users/{NOWHERE}"),
    "list_mails": ("GET", "/api/admin/mails"),
    "overview": ("GET", "/api/admin/overview"),
    "list_jobs": ("GET", "/api/jobs"),
    "get_job": ("GET", f"/api/jobs/{NOWHERE}"),
    "cancel_job": ("POST", f"/api/jobs/{NOWHERE}/cancel"),
    "job_events": ("GET", f"/api/jobs/{NOWHERE}/events"),
    "container_logs": ("GET", "/api/container/hello/logs"),
}
ASKING = ("signup", "login")
BY_QUERY = ("verify_signup", "verify_login")
SPENDING = ("verify", *BY_QUERY)
STARTING = ("container_restart", "container_launch", "restart_workspace")
ENDING = ("stop_workspace", "delete_workspace")
ACCEPTING = (*STARTING, *ENDING)
# What no personal token opens.
PERSONAL = ("logout", "list_sessions", "end_session", "end_others", "make_token", "list_tokens", "revoke_token")
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
)
READING = (
    "list_sessions",
    "list_tokens",
    "me",
    "list_containers",
    "list_templates",
    "container_status",
    "get_workspace",
    "list_volumes",
    "list_jobs",
    "get_job",
    "job_events",
    "container_logs",
)
SILENT = ("delete_volume", "delete_user", "refresh", "end_session", "end_others", "make_token", "revoke_token")
STREAMING = ("job_events", "container_logs")
ADMINISTERING = ("limit_user", "delete_user")
ADMIN = (*ADMINISTERING, "list_users", "list_mails", "overview")
SIGNED_IN = (*CHANGING, *READING, *ADMIN)
# What an error's text is filled with when it is provoked.
VALUES: dict[str, dict[str, object]] = {"quota_user_running": {"limit": 1}, "too_many_tokens": {"limit": 50}}


async def call(scene: Scene, name: str, *, client: httpx.AsyncClient | None = None, **request: Any) -> httpx.Response:
    """Call an operation as alice or an admin, unless headers are given, in the scene's language."""
    method, path = CALLS[name]
    who = scene.admin if name in ADMIN else scene.alice
    headers = request.pop("headers", who.headers if name in SIGNED_IN else {})
    headers = {**headers, "Accept-Language": scene.locale}
    return await (client or scene.client).request(method, request.pop("path", path), headers=headers, **request)


def good(name: str, token: str = "x") -> dict[str, Any]:
    """A body or query that an operation accepts."""
    if name in ASKING:
        return {"json": {"email": ADDRESS}}
    if name in BY_QUERY:
        return {"params": {"token": token}}
    if name == "make_token":
        return {"json": {"name": "backup", "scopes": ["read"], "days": 30}}
    if name == "limit_user":
        return {"json": {"running_limit": 2}}
    return {"json": {"token": token}} if name == "verify" else {}
