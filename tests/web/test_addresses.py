"""Forms and API take the same addresses: what a browser refuses by itself, the server never gets to judge."""

from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from app.models import LinkRequest, Share, WorkspaceStatus
from app.resources import Resources
from app.web import rendering
from tests.support.browsers import Page, make_workspace
from tests.support.factories import SignedIn

SHARES = "/home/workspaces/hello/shares"
TEMPLATES = sorted((Path(rendering.__file__).parent / "templates").glob("*.html"))
# By which browsers refuse to send a form: `type="email"` knows ASCII alone.
JUDGING = {"pattern", "minlength", "maxlength"}
LONG = f"{'a' * 64}@{'b' * 60}.org"
ADDRESSES = ["zoë@example.org", "用户@example.org", "用户@例子.广告", "o'brien@example.org", LONG]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_form_judges_an_address_before_the_server_does(template: Path) -> None:
    for field in Page(template.read_text()).find("input", name="email"):
        assert (field["type"], field["inputmode"], field["spellcheck"]) == ("text", "email", "false")
        assert not JUDGING & set(field)


@pytest.mark.parametrize("address", ADDRESSES)
async def test_pages_and_api_take_the_same_addresses(
    browser: httpx.AsyncClient, hers: httpx.AsyncClient, alice: SignedIn, resources: Resources, address: str
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.STOPPED)
    assert (await browser.post("/sign-in", data={"email": address})).status_code == 303
    assert (await browser.post("/api/auth/signup", json={"email": address})).status_code == 200
    assert (await hers.post(SHARES, data={"email": address})).status_code == 303
    api = "/api/container/hello/shares"
    assert (await hers.post(api, json={"email": address}, headers=alice.headers)).status_code == 201
    async with resources.reads() as session:
        asked = list(await session.scalars(select(LinkRequest.email)))
        shared = list(await session.scalars(select(Share.email)))
    assert len(asked) == 2
    assert {*asked} == {*shared}
