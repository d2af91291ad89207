"""Provokes any answer that the table of operations names."""

import httpx

from tests.api.cases import BY_CODE, OwnCases
from tests.api.cases_admin import ADMIN_CASES
from tests.api.cases_sign_in import SIGN_IN_CASES
from tests.api.cases_workspaces import WORKSPACE_CASES
from tests.api.conftest import Scene
from tests.api.operations import Answer, send_good

OWN: OwnCases = {**SIGN_IN_CASES, **WORKSPACE_CASES, **ADMIN_CASES}


async def provoke(scene: Scene, answer: Answer) -> httpx.Response:
    """Bring an answer about: as its operation needs, else as its code does, else by a request that fits the schema."""
    name, what = answer
    if answer in OWN:
        return await OWN[answer](scene, name)
    return await (BY_CODE[what] if isinstance(what, str) else send_good)(scene, name)
