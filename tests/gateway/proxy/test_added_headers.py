"""Headers that a template adds: they arrive as it says, and nobody else's word counts."""

import pytest

from app.catalog.templates import Catalog
from app.resources import Resources
from tests.support.proxy import Site
from tests.support.sockets import last, socket

HEADERS = {
    "X-Script-Name": "{prefix}",
    "X-Base": "{base_path}x",
    "X-Where": "{workspace_url} {public_url} {{env.HOME}} {{http.vars.spawner_user}}",
    "X-Webauth-User": "{user}",
}


@pytest.fixture
def resources(resources: Resources) -> Resources:
    """A catalogue whose default template adds headers."""
    default, *others = resources.catalog.templates
    object.__setattr__(resources, "catalog", Catalog((default.model_copy(update={"headers": HEADERS}), *others)))
    return resources


async def test_a_template_tells_its_application_where_it_is_and_who_comes(site: Site) -> None:
    owned = await site.own()
    prefix = f"/{owned.route}" if site.edge.mode == "path" else ""
    where = f"{site.origin(owned.route)}{prefix}/ {site.settings.public_url} {{env.HOME}} {{http.vars.spawner_user}}"
    expected = {
        "x-script-name": [prefix] if prefix else [],
        "x-base": [f"{prefix}/x"],
        "x-where": [where],
        "x-webauth-user": ["alice"],
    }
    await site.ask(owned.route, "/", owned.cookie)
    assert {name: last(site).get(name) for name in expected} == expected
    async with socket(site, owned, {**owned.cookie, "Origin": site.origin(owned.route)}):
        assert {name: last(site).get(name) for name in expected} == expected
    assert {name for name, _ in last(site).headers if "spawner" in name} == {"x-spawner-user"}


async def test_a_client_can_neither_set_nor_strike_out_one(site: Site) -> None:
    owned = await site.own()
    lines = [
        f"Cookie: {owned.cookie['Cookie']}",
        "X-Script-Name: /evil",
        "X-Webauth-User: root",
        "x-webauth-user: root",
    ]
    listed = "Connection: X-Webauth-User, X-Script-Name"
    for more in ([], [listed]):
        answer = await site.raw(site.host(owned.route), site.path(owned.route), [*lines, *more])
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert last(site).get("x-webauth-user") == ["alice"]
        assert last(site).get("x-script-name") == ([f"/{owned.route}"] if site.edge.mode == "path" else [])


@pytest.mark.parametrize("name", ["X_Webauth_User", "x-webauth_user", "X.Webauth.User", "X!Webauth-User"])
async def test_another_spelling_of_one_does_not_arrive(site: Site, name: str) -> None:
    """Some servers take it for the same. The proxy drops what it knows to be read so; the gateway refuses the rest."""
    owned = await site.own()
    lines = [f"Cookie: {owned.cookie['Cookie']}", f"{name}: root"]
    answer = await site.raw(site.host(owned.route), site.path(owned.route), lines)
    assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400")), answer
    assert "root" not in repr(site.edge.peer.received)


async def test_a_template_without_any_leaves_such_headers_alone(site: Site) -> None:
    owned = await site.own(template="jupyter")
    lines = [f"Cookie: {owned.cookie['Cookie']}", "X!Webauth-User: mine", "X-Script-Name: own"]
    assert (await site.raw(site.host(owned.route), site.path(owned.route), lines)).startswith(b"HTTP/1.1 200")
    assert (last(site).get("x!webauth-user"), last(site).get("x-script-name")) == (["mine"], ["own"])
    assert not [name for name, _ in last(site).headers if "spawner" in name and name != "x-spawner-user"]
