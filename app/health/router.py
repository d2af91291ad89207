"""/livez and /readyz."""

from fastapi import APIRouter, Response

from app.health.service import Liveness, Readiness, check, liveness, serving
from app.http.dependencies import ResourcesDep

router = APIRouter(tags=["health"])
# Only the proxy reaches this route.
router.add_route("/internal/serving", serving, methods=["GET"], include_in_schema=False)


@router.get(
    "/livez",
    summary="Liveness probe",
    operation_id="livez",
    responses={503: {"model": Liveness, "description": "A background loop of this process keeps failing"}},
)
async def livez(response: Response) -> Liveness:
    """Checks only this process: a failing dependency must not restart it."""
    found = liveness()
    response.status_code = 200 if found.status == "ok" else 503
    return found


@router.get(
    "/readyz",
    summary="Readiness probe",
    operation_id="readyz",
    responses={503: {"model": Readiness, "description": "A part does not answer"}},
)
async def readyz(resources: ResourcesDep, response: Response) -> Readiness:
    """Checks database, Redis, and the engine through a live worker."""
    readiness = await check(resources)
    response.status_code = 200 if readiness.ready else 503
    return readiness
