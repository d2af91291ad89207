"""The documentation of the API, from files of this machine alone, without a script in the page."""

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Request, Response

from app.web.rendering import page

router = APIRouter(include_in_schema=False)

# What fastapi-offline ships.
FILES = Path(fastapi_offline.__file__).parent / "static"


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Swagger UI over /openapi.json."""
    return page(request, "docs.html")
