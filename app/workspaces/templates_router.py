"""/api/templates."""

from fastapi import APIRouter

from app.accounts.dependencies import ScopedUserDep
from app.catalog.images import image_states
from app.catalog.schemas import TemplateOut, TemplatesOut
from app.core.errors import Unauthorized, Unavailable
from app.http.dependencies import LocaleDep, ResourcesDep
from app.http.problems import problems

router = APIRouter(prefix="/api/templates", tags=["catalogue"])


@router.get("", summary="List templates", operation_id="list_templates", responses=problems(Unauthorized, Unavailable))
async def templates(resources: ResourcesDep, locale: LocaleDep, _: ScopedUserDep) -> TemplatesOut:
    """The templates that you can launch, in the catalogue's order."""
    catalog = resources.catalog.templates
    states = await image_states(resources.redis, resources.settings.instance, [template.image for template in catalog])
    return TemplatesOut(templates=[TemplateOut.of(template, locale, states) for template in catalog])
