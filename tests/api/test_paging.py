"""Every list that comes in pages says truly whether another page follows."""

import httpx
import pytest

from app.models import LinkPurpose, LinkRequest, utcnow
from app.resources import Resources
from tests.support.factories import SignedIn, sign_in

LISTS = {
    "/api/admin/users": "users",
    "/api/admin/users/{root}/sessions": "sessions",
    "/api/admin/invitations": "invitations",
    "/api/admin/workspaces": "workspaces",
    "/api/admin/jobs": "jobs",
    "/api/admin/mails": "mails",
    "/api/admin/audit": "entries",
    "/api/jobs": "jobs",
    "/api/user/activity": "activity",
}


@pytest.fixture
async def root(client: httpx.AsyncClient, resources: Resources, root: SignedIn) -> SignedIn:
    """An admin, who has several entries in every list."""
    await sign_in(resources, root.user)
    now = utcnow()
    async with resources.unit_of_work() as session:
        for name in ("a", "b"):
            session.add(
                LinkRequest(
                    email=f"{name}@example.org",
                    purpose=LinkPurpose.LOGIN,
                    locale="en",
                    run_at=now,
                    created_at=now,
                    expires_at=now,
                )
            )
    for name in ("carol", "dave"):
        body = {"email": f"{name}@example.org"}
        assert (await client.post("/api/admin/invitations", json=body, headers=root.headers)).is_success
    for template in ("hello", "jupyter"):
        assert (await client.post(f"/api/container/launch/{template}", headers=root.headers)).is_success
    await sign_in(resources, "bob")
    return root


@pytest.mark.parametrize("path", LISTS)
async def test_no_page_follows_one_that_is_exactly_full(client: httpx.AsyncClient, root: SignedIn, path: str) -> None:
    async def page(limit: int, **params: str) -> tuple[list[object], object]:
        address = path.replace("{root}", str(root.user.id))
        answer = await client.get(address, params={"limit": limit, **params}, headers=root.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()[LISTS[path]], answer.json()["next"]

    entries, following = await page(100)
    assert len(entries) > 1
    assert following is None
    assert await page(len(entries)) == (entries, None)
    first, following = await page(len(entries) - 1)
    assert first == entries[:-1]
    assert following is not None
    assert await page(1, before=str(following)) == (entries[-1:], None)
