"""Public names of workspaces, in both URL modes."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.core.addresses import Alias, Route, base_path, origin_of, parse, route_of, split_route, workspace_url
from tests.support.url_modes import HOST, PATH

slugs = st.from_regex(r"[a-z0-9]{1,30}", fullmatch=True)
templates = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True)
rests = st.sampled_from(["/", "/lab?x=1", "//evil.example.org/", "/%2e%2e/bob-hello/", "/a\\b", "?q", ""])


@given(slugs, templates, slugs, templates)
def test_different_workspaces_never_share_a_route(slug: str, template: str, slug2: str, template2: str) -> None:
    assume((slug, template) != (slug2, template2))
    assert route_of(slug, template) != route_of(slug2, template2)


@given(slugs, templates)
def test_a_route_is_read_as_it_was_built(slug: str, template: str) -> None:
    assert split_route(route_of(slug, template)) == (slug, template)


@given(slugs, templates, rests)
def test_a_path_is_read_as_it_was_built(slug: str, template: str, rest: str) -> None:
    route = route_of(slug, template)
    assert parse(PATH, "127.0.0.1:8080", f"/{route}{rest}") == Route(slug, template, f"/{route}", rest)


@given(slugs, templates, rests.filter(lambda rest: rest.startswith("/")))
def test_a_host_is_read_as_it_was_built(slug: str, template: str, rest: str) -> None:
    host = f"{route_of(slug, template)}.apps.example.org"
    assert parse(HOST, host, rest) == Route(slug, template, "", rest)
    assert parse(HOST, f"{host.upper()}:8443", rest) == Route(slug, template, "", rest)


@given(st.text(), st.text())
def test_any_request_is_read_without_an_error(host: str, uri: str) -> None:
    for settings in (PATH, HOST):
        for address in (uri, f"/{uri}"):
            parse(settings, host, address)
            parse(settings, f"{host}.apps.example.org", address)


@given(st.text(alphabet="aZ09-./%?\\@:# \n\u00e9", max_size=12))
def test_only_plain_names_are_routes(segment: str) -> None:
    route = parse(PATH, "127.0.0.1", f"/{segment}")
    if isinstance(route, Route):
        assert segment.startswith(route.name)
        assert segment[len(route.name) :][:1] in ("", "/", "?")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "*",
        "alice-hello/",
        "/",
        "//alice-hello/",
        "/%61lice-hello/",
        "/Alice-hello/",
        "/alice-hello%2f",
        "/alice--hello/",
        "/alice-/",
        "/-hello/",
        "/alice-hello-x/",
        "/alice-hello\n",
        "/alice-hello\\..",
        "/./alice-hello/",
        "http://127.0.0.1/alice-hello/",
    ],
)
def test_what_is_no_plain_name_is_nobodys(uri: str) -> None:
    assert parse(PATH, "127.0.0.1:8080", uri) is None


def test_a_longer_name_is_another_route() -> None:
    route = parse(PATH, "127.0.0.1:8080", "/alice-helloevil")
    assert isinstance(route, Route)
    assert route.template == "helloevil"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "apps.example.org",
        "alice-hello.example.org",
        "alice-hello.apps.example.org.evil.org",
        "alice-hello.evil.apps.example.org",
        "alice-helloapps.example.org",
        ".apps.example.org",
        "[::1]:443",
    ],
)
def test_another_host_is_nobodys(host: str) -> None:
    assert parse(HOST, host, "/") is None


def test_a_slug_alone_is_the_default_workspace() -> None:
    assert parse(PATH, "127.0.0.1", "/alice/x?y") == Alias("alice", "/x?y")
    assert parse(PATH, "127.0.0.1", "/alice") == Alias("alice", "")
    assert parse(HOST, "alice.apps.example.org", "/x") == Alias("alice", "/x")


def test_addresses_are_written_as_browsers_write_them() -> None:
    assert workspace_url(PATH, "alice", "hello") == "http://127.0.0.1:8080/alice-hello/"
    assert workspace_url(HOST, "alice", "hello") == "https://alice-hello.apps.example.org/"
    assert origin_of(HOST, "alice-hello") == "https://alice-hello.apps.example.org"
    assert (base_path(PATH, "alice-hello"), base_path(HOST, "alice-hello")) == ("/alice-hello/", "/")
