"""How answers of codes and invitations are provoked, for `tests.api.cases`."""

import httpx
from sqlalchemy import select

from app.accounts.users import find_or_create
from app.auth.magic_links import make_link
from app.models import LinkRequest, utcnow
from tests.api.calls import call, good
from tests.api.conftest import Scene


async def types_code(scene: Scene, *, blocked: bool = False) -> httpx.Response:
    """In the browser that asked, with the code that the mail would show."""
    address = f"u{utcnow().timestamp():.6f}@example.org".replace(".", "", 1)
    await call(scene, "signup", json={"email": address})
    async with scene.resources.unit_of_work() as session:
        request = (await session.scalars(select(LinkRequest).where(LinkRequest.email == address))).one()
        user = await find_or_create(session, address)
        user.blocked_at = utcnow() if blocked else None
        make_link(session, scene.resources, user, request, "7K2MQ9XD")
    return await call(scene, "verify_code", **good("verify_code"))


async def invites_member(scene: Scene) -> httpx.Response:
    return await call(scene, "invite", json={"email": scene.alice.user.email})


async def revokes(scene: Scene) -> httpx.Response:
    made = await call(scene, "invite", **good("invite"))
    return await call(scene, "revoke_invitation", path=f"/api/admin/invitations/{made.json()['id']}")
