"""The catalogue's file: what it may hold, and where its mistakes are."""

from pathlib import Path
from textwrap import dedent, indent

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.catalog.loader import CatalogInvalid, load_catalog
from app.catalog.placeholders import NAMES, fill
from app.catalog.templates import SMALLEST_MEMORY, parse_memory
from app.core.addresses import placeholders
from app.core.settings.model import Settings
from app.runtime.docker.policy import Allowed
from app.runtime.egress import EGRESS_INTERNET, Egress

SHIPPED = Path(__file__).parents[2] / "images" / "catalog.yaml"
TEMPLATE = """\
- key: hello
  name: {en: Hello, de: Hallo}
  description: {en: A page., de: Eine Seite.}
  image: example/hello:1
  port: 8080
  limits:
    memory: 64M
    cpus: 0.5
    pids: 64
  probe: {path: /, deadline_seconds: 20}
  default: true
"""


def write(folder: Path, *templates: str) -> Path:
    path = folder / "catalog.yaml"
    path.write_text("templates:\n" + "".join(indent(dedent(template), "  ") for template in templates))
    return path


def mistakes(path: Path) -> list[str]:
    with pytest.raises(CatalogInvalid) as caught:
        load_catalog(path)
    return [line.removeprefix(f"{path}:") for line in caught.value.mistakes]


def test_the_shipped_catalogue_is_valid_and_its_build_contexts_are_there() -> None:
    catalog = load_catalog(SHIPPED)
    assert [template.key for template in catalog.templates] == ["hello", "jupyter"]
    assert catalog.default.key == "hello"
    for template in catalog.templates:
        assert template.build is not None
        assert (SHIPPED.parent / template.build / "Dockerfile").is_file()
        assert template.name.en
        assert template.description.de != template.description.en


def test_a_template_is_read_with_its_defaults(tmp_path: Path) -> None:
    catalog = load_catalog(write(tmp_path, TEMPLATE))
    template = catalog.get("hello")
    assert template is not None
    assert template is catalog.default
    assert template.limits.memory == 64 * 1024 * 1024
    assert (template.idle_pause, template.idle_stop, template.max_lifetime, template.start_on_visit) == (0, 0, 0, False)
    assert (template.strip_prefix, template.read_only, template.volume, template.user) == (True, False, None, None)
    assert (template.name.format("de"), template.name.format("en"), template.name.format("fr")) == (
        "Hallo",
        "Hello",
        "Hello",
    )


def test_an_unknown_template_is_none(tmp_path: Path) -> None:
    assert load_catalog(write(tmp_path, TEMPLATE)).get("other") is None


def test_the_order_of_the_file_is_kept(tmp_path: Path) -> None:
    others = [TEMPLATE.replace("hello\n", f"{key}\n", 1).replace("true", "false") for key in ("zeta", "alpha")]
    catalog = load_catalog(write(tmp_path, others[0], TEMPLATE, others[1]))
    assert [template.key for template in catalog.templates] == ["zeta", "hello", "alpha"]


def test_templates_are_frozen(tmp_path: Path) -> None:
    template = load_catalog(write(tmp_path, TEMPLATE)).default
    with pytest.raises(ValidationError):
        template.port = 1  # type: ignore[misc]  # refused when it runs, too


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("port: 8080", "port: 808000", "6: templates.hello.port: Input should be less than or equal to 65535"),
        ("port: 8080", "port: true", "6: templates.hello.port: Input should be a valid integer"),
        ("  port: 8080\n", "", "2: templates.hello.port: is missing"),
        ("port: 8080", "prot: 8080\n  port: 1", "6: templates.hello.prot: is not a known key"),
        ("port: 8080", "port: 1\n  port: 2", "7: templates.hello.port: is written twice"),
        ("    pids: 64", "    pids: 64\n    disk: 1", "11: templates.hello.limits.disk: is not a known key"),
        ("memory: 64M", "memory: 64", "8: templates.hello.limits.memory: must be a number of megabytes or gigabytes"),
        ("memory: 64M", "memory: 5M", "8: templates.hello.limits.memory: must be at least 6M"),
        ("cpus: 0.5", "cpus: 0", "9: templates.hello.limits.cpus: Input should be greater"),
        (", de: Hallo", "", "3: templates.hello.name.de: is missing"),
        ("key: hello", "key: Hello-1", "2: templates.Hello-1.key: String should match pattern"),
        ("key: hello", "key: " + 21 * "a", f"2: templates.{21 * 'a'}.key: String should have at most 20"),
        *(
            ("key: hello", f"key: {key}", f"2: templates.{key}.key: status, restart, launch are reserved")
            for key in ("status", "restart", "launch")
        ),
        ("path: /,", "path: api,", "11: templates.hello.probe.path: String should match pattern"),
        ("default: true", "default: false", "1: templates: one of them must be the default"),
        ("default: true", "default: yes please", "12: templates.hello.default: Input should be a valid boolean"),
        ("port: 8080", "port: 1\n  environment: {SPAWNER_X: a}", "7: templates.hello.environment: SPAWNER_X is set by"),
        ("port: 8080", "port: 1\n  environment: {A-B: a}", "7: templates.hello.environment: A-B is not a name"),
        ("port: 8080", "port: 1\n  environment: {A: 1}", "7: templates.hello.environment.A: must be a text: quote it"),
        ("port: 8080", "port: 1\n  volume: data", "7: templates.hello.volume: must be an absolute path"),
        ("port: 8080", "port: 1\n  volume: /", "7: templates.hello.volume: must be an absolute path"),
        ("port: 8080", "port: 1\n  volume: /a/../b", "7: templates.hello.volume: must be an absolute path"),
        ("port: 8080", "port: 1\n  build: ../x", "7: templates.hello.build: must be a path relative to"),
        ("port: 8080", "port: 1\n  build: /x", "7: templates.hello.build: must be a path relative to"),
        ("port: 8080", "port: 1\n  idle_pause: 1h", "7: templates.hello.idle_pause: Input should be a valid integer"),
        ("port: 8080", "port: 1\n  idle_stop: -1", "7: templates.hello.idle_stop: Input should be greater"),
        ("port: 8080", "port: 1\n  idle_pause: 9\n  idle_stop: 9", "8: templates.hello.idle_stop: must be longer than"),
        (
            "port: 8080",
            "port: 1\n  start_on_visit: 1",
            "7: templates.hello.start_on_visit: Input should be a valid bool",
        ),
        ("port: 8080", "port: 1\n  egress: lan", "7: templates.hello.egress: must be internet, none, or a list"),
        ("port: 8080", "port: 1\n  egress: []", "7: templates.hello.egress: must be internet, none, or a list"),
        ("port: 8080", "port: 1\n  egress: [10.0.0.1/8]", "7: templates.hello.egress: 10.0.0.1/8 is no IPv4 network"),
        ("port: 8080", "port: 1\n  egress: ['::/0']", "7: templates.hello.egress: ::/0 is no IPv4 network"),
        (
            "port: 8080",
            "port: 1\n  egress: [0.0.0.0/0]",
            "7: templates.hello.egress: 0.0.0.0/0 holds private addresses",
        ),
        ("port: 8080", "port: 1\n  capabilities: [CHOWN]", "7: templates.hello.capabilities: CHOWN is not in SPAWNER_"),
        (
            "port: 8080",
            "port: 1\n  mounts: [{host: /srv/data, path: /data}]",
            "7: templates.hello.mounts.0.host: /srv/data is not in SPAWNER_ALLOWED_MOUNTS",
        ),
        *(
            ("port: 8080", f"port: 1\n  {key}", f"7: templates.hello.{mistake}")
            for key, mistake in (
                ("command: serve", "command: Input should be a valid"),
                ("command: []", "command: must be a list that begins with a word"),
                ("command: ['']", "command: must be a list that begins with a word"),
                ("args: [--port, 80]", "args.1: must be a text: quote it"),
                ("args: ['--base={slug}']", "args: {slug} is none of {base_path}, {prefix}, {workspace_url}, "),
                ("args: ['{user.__class__}']", "args: {user.__class__} is none of"),
                ("args: ['{']", "args: { is none of"),
                ("args: ['{{x}']", "args: } is none of"),
                ('args: ["\\0"]', "args: must have no NUL"),
                ("headers: {X-A: '{nobody}'}", "headers: {nobody} is none of"),
                ('headers: {X-A: "a\\r\\nX-B: b"}', "headers: X-A must hold printable ASCII"),
                ("headers: {X-A: ' a'}", "headers: X-A must hold printable ASCII"),
                ("headers: {X-A: ä}", "headers: X-A must hold printable ASCII"),
                ("headers: {X-A: ''}", "headers: X-A must hold printable ASCII"),
                ("headers: {X-A: 1}", "headers.X-A: must be a text: quote it"),
                ("headers: {X-A: a, x-a: b}", "headers: has a name twice"),
                ("headers: {X-A: a, X-B: a, X-C: a, X-D: a, X-E: a}", "headers: must be at most 4"),
                *(
                    (f"headers: {{{name}: a}}", f"headers: {name} is no name such as X-Script-Name")
                    for name in ("Cookie", "Host", "Authorization", "Connection", "X_A", "X-", "Remote-User")
                ),
                *(
                    (f"headers: {{{name}: a}}", f"headers: {name} is the proxy's own")
                    for name in ("X-Spawner-User", "X-Forwarded-For", "X-My-Upstream", "X-Real-IP", "X-strip-prefix")
                ),
            )
        ),
        ("port: 8080", "port: 1\n  warm: -1", "7: templates.hello.warm: Input should be greater"),
        ("port: 8080", "port: 1\n  warm: many", "7: templates.hello.warm: Input should be a valid integer"),
        (
            "port: 8080",
            "port: 1\n  warm: 2\n  args: ['--user={user}']",
            "7: templates.hello.warm: no container can run in advance: its command or args hold {user}, which only",
        ),
        ("image: example/hello:1", "image: 'a b'", "5: templates.hello.image: String should match pattern"),
    ],
)
def test_a_mistake_is_reported_with_its_line(tmp_path: Path, old: str, new: str, mistake: str) -> None:
    found = mistakes(write(tmp_path, TEMPLATE.replace(old, new, 1)))
    assert len(found) == 1
    assert found[0].startswith(mistake)


@pytest.mark.parametrize(
    ("more", "in_path"),
    [
        ("strip_prefix: false", "SPAWNER_WORKSPACE_URL has {route} in the path, and the container sees it"),
        ("args: ['--base={base_path}']", "its command or args hold {base_path}"),
        ("command: [serve, '{prefix}']", "its command or args hold {prefix}"),
        ("args: ['{public_url}', '{{user}}']", ""),
    ],
)
def test_what_only_the_path_of_a_workspace_tells_keeps_it_cold_in_path_mode(
    tmp_path: Path, more: str, in_path: str
) -> None:
    path = write(tmp_path, TEMPLATE.replace("port: 8080", f"port: 1\n  warm: 2\n  {more}", 1))
    assert load_catalog(path).default.warm == 2
    if not in_path:
        assert load_catalog(path, host_mode=False).default.warm == 2
        return
    with pytest.raises(CatalogInvalid) as invalid:
        load_catalog(path, host_mode=False)
    assert f"templates.hello.warm: no container can run in advance: {in_path}" in str(invalid.value)


def test_what_a_template_says_of_its_workspace_is_filled_in_once(tmp_path: Path) -> None:
    more = """port: 8080
  command: [serve, '--base={prefix}', '{base_path}', '{{"a": {{}}}}']
  args: ['{user}@{workspace_url}', '{public_url}']
  headers: {X-Script-Name: '{prefix}/x', X-Who: 'user {user}'}"""
    template = load_catalog(write(tmp_path, TEMPLATE.replace("port: 8080", more, 1))).default
    assert template.command is not None
    assert template.args is not None
    values = {"prefix": "/{user}", "base_path": "/b/", "user": "alice", "workspace_url": "w", "public_url": "{{"}
    assert [fill(word, values) for word in template.command] == ["serve", "--base=/{user}", "/b/", '{"a": {}}']
    assert [fill(word, values) for word in template.args] == ["alice@w", "{{"]
    assert {name: fill(text, values) for name, text in template.headers.items()} == {
        "X-Script-Name": "/{user}/x",
        "X-Who": "user alice",
    }


def test_every_placeholder_has_a_value(settings: Settings) -> None:
    assert sorted(placeholders(settings, "alice", "hello", user="bob")) == sorted(NAMES)


def test_where_workspaces_connect_is_read(tmp_path: Path) -> None:
    for said, read in (("internet", None), ("none", ()), ("[10.1.0.0/16, 10.0.0.0/8, 192.0.2.7/32]", ...)):
        path = write(tmp_path, TEMPLATE.replace("port: 8080", f"port: 8080\n  egress: {said}"))
        found = load_catalog(path).default.egress
        assert found.networks == (("10.0.0.0/8", "192.0.2.7/32") if read is ... else read)
        assert Egress.read(str(found)) == found
    assert load_catalog(write(tmp_path, TEMPLATE)).default.egress == EGRESS_INTERNET


def test_what_the_settings_list_a_template_may_have(tmp_path: Path) -> None:
    allowed = Allowed({"/srv/data": False, "/srv/run/docker.sock": True}, frozenset({"CHOWN"}))
    mounts = "mounts: [{host: /srv/data, path: /data}]\n  capabilities: [CHOWN]"
    template = load_catalog(write(tmp_path, TEMPLATE.replace("port: 8080", f"port: 1\n  {mounts}")), allowed).default
    assert [(item.host, item.path, item.read_only) for item in template.mounts] == [("/srv/data", "/data", True)]
    assert template.capabilities == ("CHOWN",)
    for wrong, mistake in (
        ("{host: /srv/data, path: /data, read_only: false}", "/srv/data may only be read"),
        ("{host: /srv/run/docker.sock, path: /x}", "/srv/run/docker.sock would hand over the host"),
    ):
        path = write(tmp_path, TEMPLATE.replace("port: 8080", f"port: 1\n  mounts: [{wrong}]"))
        with pytest.raises(CatalogInvalid, match=mistake):
            load_catalog(path, allowed)


def test_an_image_without_a_digest_is_refused_where_digests_are_required(tmp_path: Path) -> None:
    with pytest.raises(CatalogInvalid, match=r"5: templates\.hello\.image: must be named by digest"):
        load_catalog(write(tmp_path, TEMPLATE), digests=True)
    by_digest = TEMPLATE.replace("example/hello:1", f"example/hello@sha256:{64 * 'a'}")
    assert load_catalog(write(tmp_path, by_digest), digests=True).default.image.endswith(64 * "a")


def test_every_mistake_is_reported_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = mistakes(write(tmp_path, TEMPLATE.replace("8080", "0").replace("pids: 64", "pids: many")))
    assert [line.split(": ")[:2] for line in found] == [
        ["6", "templates.hello.port"],
        ["10", "templates.hello.limits.pids"],
    ]


def test_two_templates_share_neither_key_nor_default(tmp_path: Path) -> None:
    assert mistakes(write(tmp_path, TEMPLATE, TEMPLATE)) == [
        "13: templates.hello.key: is another template's key already",
        "23: templates.hello.default: hello is the default already",
    ]


def test_a_wrong_template_hides_no_mistake_of_the_others(tmp_path: Path) -> None:
    wrong = TEMPLATE.replace("port: 8080", "port: 0").replace("default: true", "default: false")
    greedy = TEMPLATE.replace("key: hello", "key: other").replace("default: true", "capabilities: [CHOWN]")
    assert [line.split(": ")[:2] for line in mistakes(write(tmp_path, wrong, greedy))] == [
        ["6", "templates.hello.port"],
        ["23", "templates.other.capabilities"],
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "1: templates: is missing"),
        ("templates: []", "1: templates: one of them must be the default"),
        ("templates:\n  - 1", "2: templates.0: Input should be a valid dictionary"),
        ("- 1", "1: Input should be a valid dictionary"),
        ("other: 1\ntemplates: {", "2: expected the node content"),
        ("a: 1\n---\nb: 2", "2: but found another document"),
        ("templates: !!python/object:os.system {}", "1: could not determine a constructor"),
        ("a: &a [*a]", "1: a: is not a known key"),
    ],
)
def test_a_file_that_is_no_catalogue_is_reported(tmp_path: Path, text: str, mistake: str) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(text)
    assert any(line.startswith(mistake) for line in mistakes(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogInvalid, match=r"nowhere\.yaml: cannot be read"):
        load_catalog(tmp_path / "nowhere.yaml")


@given(st.integers(min_value=6, max_value=9_999_999), st.sampled_from("MG"))
def test_memory_is_read_in_powers_of_1024(number: int, unit: str) -> None:
    assert parse_memory(f"{number}{unit}") == number * (1024**2 if unit == "M" else 1024**3)


@given(st.one_of(st.text(), st.from_regex(r"[0-9]{0,9}[A-Za-z]{0,2}", fullmatch=True), st.integers(), st.none()))
def test_memory_is_a_size_in_bytes_or_refused(text: object) -> None:
    try:
        size = parse_memory(text)
    except ValueError:
        return
    assert size >= SMALLEST_MEMORY
    assert size % 1024**2 == 0
    assert isinstance(text, str)
    assert text[-1] in "MG"
