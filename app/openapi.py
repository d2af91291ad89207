"""The OpenAPI document: what FastAPI derives, without the 422 that this API never answers."""

from typing import Any

from fastapi import FastAPI

DESCRIPTION = """
Sign up with an e-mail address, spend the link, launch workspaces, poll the job.

Errors are `application/problem+json` (RFC 9457); switch on `code`. Texts follow `Accept-Language` (English, German).
Authenticate with `Authorization: Bearer <access_token>`. Mutating requests accept `Idempotency-Key`.
"""

TAGS = [
    {"name": "auth", "description": "Links, tokens, sign-out."},
    {"name": "user", "description": "The caller."},
    {"name": "catalogue", "description": "What may be launched."},
    {"name": "container", "description": "Workspaces of the caller."},
    {"name": "jobs", "description": "Accepted requests and how far they are."},
    {"name": "health", "description": "For probes."},
]


def install(app: FastAPI) -> None:
    """Replace the app's generator by one that also says how to authenticate."""
    derive = app.openapi

    def generate() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = derive()
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
                    if path.startswith("/api/") and "401" in operation["responses"]:
                        operation["security"] = [{"bearer": []}]
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            document["components"]["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            }
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = generate  # type: ignore[method-assign]
