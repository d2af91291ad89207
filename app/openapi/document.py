"""The OpenAPI document: FastAPI's, completed by examples, headers and authentication.

Omits FastAPI's 422: this API answers invalid requests with 400.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from app.http.problems import MEDIA_TYPE, Problem
from app.openapi.components import share
from app.openapi.examples import complete, recorded

DESCRIPTION = """
Sign up with an e-mail address, open the link, launch workspaces, poll the job.

**Authentication.** Send `Authorization: Bearer <access_token>`, or a personal token instead. A personal token's scopes
limit it: `read` reads your data, `workspaces` also changes it, `admin` permits `/api/admin`; other requests fail with
`insufficient_scope`. The pages' cookies are accepted as well; with them, requests that change something must come from
the pages' origin, or they fail with `cross_site`.

**Errors** are `application/problem+json` (RFC 9457): depend on `code`, show `detail`. Invalid input returns 400 and
lists each field in `errors`, an unknown path 404 `not_found`, an unsupported method 405 `method_not_allowed`. A server
error returns 500 `internal`: give its `request_id`, which every response also has as `X-Request-ID`, to the operator.

**Languages.** Texts follow `Accept-Language`: English or German.

**Idempotency.** Launch, restart, stop and delete accept `Idempotency-Key`: the same key and request return the same
job.
"""

TAGS = [
    {"name": "auth", "description": "Links, sessions, tokens."},
    {"name": "user", "description": "Your account, and your activity."},
    {"name": "catalogue", "description": "The templates that can be launched."},
    {"name": "container", "description": "Your workspaces."},
    {"name": "jobs", "description": "Accepted requests and their progress."},
    {"name": "sharing", "description": "Access of others to your workspaces, and yours to theirs."},
    {"name": "volumes", "description": "Files that outlive their workspaces."},
    {"name": "admin", "description": "For admins of the installation."},
    {"name": "health", "description": "Liveness and readiness probes."},
]

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "Identifies this request in the operator's logs.",
        "schema": {"type": "string"},
        "example": "5f0c2d9e1b7a4c38",
    },
    "Retry-After": {
        "description": "Seconds to wait before retrying.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 5,
    },
    "WWW-Authenticate": {
        "description": "The scheme to authenticate with.",
        "schema": {"type": "string", "const": "Bearer"},
        "example": "Bearer",
    },
    "ETag": {
        "description": "Identifies this state of the job; send it as `If-None-Match`.",
        "schema": {"type": "string"},
        "example": '"3.1.0.6.en"',
    },
    "Content-Disposition": {
        "description": "The file's name.",
        "schema": {"type": "string"},
        "example": 'attachment; filename="audit.csv"',
    },
    "Location": {
        "description": "The confirm page, with the token in the fragment.",
        "schema": {"type": "string", "format": "uri"},
        "example": "http://localhost:8080/auth/confirm#token=q7Zb0c1xK0hYkq3V9dV8u4rJm2sPz6tW5nXeLfAgBhI",
    },
    "Set-Cookie": {
        "description": "The pages' cookies, hidden from scripts. API clients can ignore them.",
        "schema": {"type": "string"},
        "example": "spawner_session=0wV…; HttpOnly; Max-Age=900; Path=/; SameSite=lax",
    },
}
PROBLEM_HEADERS = {"401": "WWW-Authenticate", "429": "Retry-After", "503": "Retry-After"}
OTHER_HEADERS = {
    ("signup", "200"): "Set-Cookie",
    ("login", "200"): "Set-Cookie",
    ("verify", "200"): "Set-Cookie",
    ("verify_code", "200"): "Set-Cookie",
    ("logout", "200"): "Set-Cookie",
    ("refresh", "204"): "Set-Cookie",
    ("export_audit", "200"): "Content-Disposition",
    ("get_job", "200"): "ETag",
    ("get_job", "304"): "ETag",
    ("verify_signup", "303"): "Location",
    ("verify_login", "303"): "Location",
}


def install(app: FastAPI) -> None:
    """Replace the app's OpenAPI generator by one that completes its document."""
    derive = app.openapi

    def generate() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(derive())
        return app.openapi_schema

    app.openapi = generate  # type: ignore[method-assign]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and description of every operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**problem.pop("$defs"), "Problem": problem}
    for name, schema in schemas.items():
        if schema["type"] == "object" and not name.endswith("In"):
            # Responses contain every field, also those with defaults.
            schema["required"] = list(schema["properties"])
    for _, _, operation in operations(document):
        operation["responses"].pop("422", None)
        if "401" in operation["responses"]:
            operation["security"] = [{"cookie" if operation["operationId"] == "refresh" else "bearer": []}]
        for body in operation.get("requestBody", {}).get("content", {}).values():
            example = schemas[_name(body["schema"])]["examples"][0]
            body["examples"] = {"request": {"value": example}}
        for status, response in operation["responses"].items():
            _complete_response(operation["operationId"], status, response, schemas)
        # A stable order, whatever the routes' order.
        operation["responses"] = dict(sorted(operation["responses"].items()))
    components["schemas"] = dict(sorted(schemas.items()))
    components["headers"] = HEADERS
    components["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "The `access_token` of a sign-in, valid until its session ends at the latest; or a personal "
            "token, valid for its scopes.",
        },
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": "__Host-spawner_refresh",
            "description": "The pages' refresh cookie. Without TLS its name is `spawner_refresh`.",
        },
    }
    share(document)
    return document


def _complete_response(name: str, status: str, response: dict[str, Any], schemas: dict[str, Any]) -> None:
    content, shown = response.get("content", {}), recorded().get(name, {})
    headers = ["X-Request-ID"]
    if MEDIA_TYPE in content:
        headers += [PROBLEM_HEADERS[status]] if status in PROBLEM_HEADERS else []
        problems = dict(sorted(content[MEDIA_TYPE]["examples"].items()))
        if "invalid_request" in problems:
            # The routes of one `responses=` share this object: each operation gets its own example.
            invalid = problems["invalid_request"]
            problems["invalid_request"] = {**invalid, "value": {**invalid["value"], "errors": [shown["invalid"]]}}
        content[MEDIA_TYPE]["examples"] = problems
        first, *others = dict.fromkeys(problem["summary"] for problem in problems.values())
        response["description"] = "; ".join([first, *(title.lower() for title in others)])
    headers += [OTHER_HEADERS[name, status]] if (name, status) in OTHER_HEADERS else []
    response["headers"] = {header: {"$ref": f"#/components/headers/{header}"} for header in headers}
    for media_type, body in content.items():
        if media_type == "application/json":
            schema = schemas[_name(body["schema"])]
            if response["description"] == "Successful Response":
                response["description"] = schema["description"].rstrip(".")
            bodies = shown[int(status)].items()
            body["examples"] = {key: {"value": complete(value, schema, schemas)} for key, value in bodies}
        elif media_type != MEDIA_TYPE:
            body["examples"] = {key: {"value": text} for key, text in shown[media_type].items()}


def _name(schema: dict[str, Any]) -> str:
    """Return the referenced component's name; an optional body's reference is in an `anyOf`."""
    reference: str = schema.get("anyOf", [schema])[0]["$ref"]
    return reference.rpartition("/")[2]
