"""The API documentation, from local files and without inline scripts."""

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Request, Response

from app.web.rendering import page

router = APIRouter(include_in_schema=False)

# Files of fastapi-offline.
FILES = Path(fastapi_offline.__file__).parent / "static"


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Return Swagger UI for /openapi.json."""
    return page(request, "docs.html")
