"""The cases of `tests.api.cases` that are about sharing."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
from sqlalchemy import select

from app.models import Share, ShareLink, Workspace, utcnow
from tests.api.calls import CALLS, MAKING, NOWHERE, SHARING, UNSHARING, call, good
from tests.api.conftest import Scene


async def shares(name: str, scene: Scene) -> httpx.Response:
    """With a workspace to share, or to enter."""
    await scene.launched()
    path = CALLS[name][1]
    if name == "take_access":
        async with scene.resources.reads() as session:
            path = path.replace(NOWHERE, str(await session.scalar(select(Workspace.id))))
    return await call(scene, name, path=path, **good(name))


async def lists_after_sharing(name: str, scene: Scene) -> httpx.Response:
    for made in SHARING:
        await shares(made, scene)
    return await call(scene, name)


async def finds_nothing(name: str, scene: Scene) -> httpx.Response:
    return await call(scene, name, **good(name))


async def shares_too_often(name: str, scene: Scene) -> httpx.Response:
    await scene.launched()
    soon = utcnow() + timedelta(hours=1)
    async with scene.resources.unit_of_work() as session:
        workspace_id = await session.scalar(select(Workspace.id))
        for number in range(50):
            session.add(Share(workspace_id=workspace_id, email=f"{scene.locale}{number}@example.org"))
        for number in range(20):
            token = scene.resources.tokens.hash("share", f"{scene.locale}{number}")
            session.add(ShareLink(workspace_id=workspace_id, token_hash=token, expires_at=soon))
    if name == "accept_share":
        return await call(scene, name, headers=scene.admin.headers, json={"token": f"{scene.locale}1"})
    return await call(scene, name, **good(name))


async def linked(scene: Scene) -> dict[str, Any]:
    """A link into alice's workspace."""
    link: dict[str, Any] = (await shares("make_share_link", scene)).json()
    return link


async def accepts(scene: Scene) -> httpx.Response:
    """The admin opens alice's link."""
    token = (await linked(scene))["url"].partition("=")[2]
    return await call(scene, "accept_share", headers=scene.admin.headers, json={"token": token})


async def shares_an_origin(name: str, scene: Scene) -> httpx.Response:
    """Where workspaces have one origin in common."""
    client = await scene.with_settings(workspace_url="http://127.0.0.1:8080/{route}")
    return await call(replace(scene, client=client), name, **good(name))


async def lists_shared(scene: Scene) -> httpx.Response:
    await accepts(scene)
    return await call(scene, "list_shared", headers=scene.admin.headers)


async def unshares(name: str, scene: Scene) -> httpx.Response:
    accepted = (await accepts(scene)).json()
    if name == "revoke_share_link":
        links = await call(scene, "list_share_links")
        return await call(scene, name, path=CALLS[name][1].replace(NOWHERE, links.json()["links"][0]["id"]))
    path = CALLS[name][1].replace(NOWHERE, accepted["id"])
    return await call(scene, name, path=path, headers=(scene.admin if name == "leave_share" else scene.alice).headers)


CASES: dict[tuple[str, int, str | None], Callable[[Scene], Awaitable[httpx.Response]]] = {
    **{(name, 201, None): partial(shares, name) for name in MAKING},
    **{(name, 409, "too_many_shares"): partial(shares_too_often, name) for name in (*SHARING, "accept_share")},
    **{(name, 409, "shared_origin"): partial(shares_an_origin, name) for name in (*MAKING, "accept_share")},
    **{(name, 204, None): partial(unshares, name) for name in UNSHARING},
    **{
        (name, 400, "invalid_request"): partial(call, name=name, path=CALLS[name][1].replace(NOWHERE, "x"))
        for name in UNSHARING
    },
    **{(name, 404, "not_found"): partial(finds_nothing, name) for name in (*MAKING, *UNSHARING)},
    **{(name, 200, None): partial(lists_after_sharing, name) for name in ("list_shares", "list_share_links")},
    ("list_shared", 200, None): lists_shared,
    ("accept_share", 200, None): accepts,
    ("accept_share", 400, "invalid_share_link"): partial(finds_nothing, "accept_share"),
}
