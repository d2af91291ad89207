import re
import shlex
from pathlib import Path

import pytest

from deploy.stack.console import StepFailed
from deploy.stack.debian import is_debian
from deploy.stack.demo import find_token
from deploy.stack.engine import Engine, engine_url, next_action
from deploy.stack.envfile import read_environment, write_environment
from deploy.stack.environment import given_settings, migration_settings, stack_settings
from deploy.stack.images import BASE, context_digest, private_certificates
from deploy.stack.inbox import find_codes, find_links
from deploy.stack.layout import LONGEST_SOCKET_DIRECTORY, Layout, own_directory, socket_directory
from deploy.stack.processes import Process
from deploy.stack.status import duration, logs
from deploy.stack.supervisor import render
from deploy.stack.up import busy_port, check_settings, public_port

ROOT = Path(__file__).parents[2]
PORTS = {"public": 8080, "smtp": 9125}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=tmp_path, run=tmp_path / ".spawner" / "run")


def test_engine_is_the_setting_then_docker_host_then_the_local_socket() -> None:
    both = {"SPAWNER_DOCKER_URL": "tcp://a:1", "DOCKER_HOST": "tcp://b:2"}
    assert engine_url(both) == "tcp://a:1"
    assert engine_url({"DOCKER_HOST": "tcp://b:2"}) == "tcp://b:2"
    assert engine_url({"SPAWNER_DOCKER_URL": "", "DOCKER_HOST": ""}) == "unix:///var/run/docker.sock"


@pytest.mark.parametrize(
    ("socket", "allowed", "installed", "root", "installable", "action"),
    [
        (True, False, True, False, False, "join"),
        (False, False, True, True, True, "start"),
        (True, True, True, True, False, "start"),
        (False, False, False, True, True, "install"),
        (False, False, False, True, False, "explain"),
        (False, False, False, False, False, "explain"),
        (False, False, True, False, False, "explain"),
    ],
)
def test_silent_local_engine_is_started_installed_or_explained(
    socket: bool, allowed: bool, installed: bool, root: bool, installable: bool, action: str
) -> None:
    decided = next_action(socket=socket, allowed=allowed, installed=installed, root=root, installable=installable)
    assert decided == action


def test_engine_address_of_another_kind_is_refused_with_a_sentence() -> None:
    with pytest.raises(StepFailed, match="ssh://host is no address of an engine"):
        Engine("ssh://host")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ID=debian\nVERSION_ID="12"\n', True),
        ("ID=ubuntu\nID_LIKE=debian\n", True),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', True),
        ("ID=fedora\n", False),
        ("", False),
    ],
)
def test_debian_and_its_kin_are_recognised(tmp_path: Path, text: str, expected: bool) -> None:
    (tmp_path / "os-release").write_text(text)
    assert is_debian(tmp_path / "os-release") is expected


def test_busy_port_names_its_holder_and_the_way_out() -> None:
    assert busy_port(8080, "nginx (pid 12)") == (
        "port 8080 is held by nginx (pid 12); stop it, or let Spawner listen elsewhere: SPAWNER_PORT=8081 make up"
    )
    assert "another process" in busy_port(8080, "")


def test_port_is_the_setting_else_that_of_the_public_url_else_that_of_last_time() -> None:
    assert public_port({"SPAWNER_PORT": "8081", "SPAWNER_PUBLIC_URL": "http://a:1"}, 8080) == 8081
    assert public_port({"SPAWNER_PUBLIC_URL": "http://localhost:9000"}, 8080) == 9000
    assert public_port({}, 8090) == 8090


@pytest.mark.parametrize("value", ["abc", "0", "65536", "-1", "8080 "])
def test_port_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(StepFailed, match="not a port"):
        public_port({"SPAWNER_PORT": value}, 8080)


def test_sockets_stay_in_the_clone_while_their_path_is_short() -> None:
    assert socket_directory(Path("/srv/app/.spawner/run"), "abc", uid=1000) == Path("/srv/app/.spawner/run")


def test_sockets_of_a_deep_clone_move_to_a_short_directory_of_its_own() -> None:
    deep = Path("/srv") / ("x" * 100) / "run"
    for uid, start in ((0, "/run/spawner-abc"), (1000, "/")):
        found = socket_directory(deep, "abc", uid=uid)
        assert str(found).startswith(start)
        assert found.name.endswith("abc")
        assert len(str(found)) < LONGEST_SOCKET_DIRECTORY


def test_sockets_of_root_leave_a_clone_that_others_cannot_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert socket_directory(closed / "run", "abc", uid=0) == Path("/run/spawner-abc")


def test_directory_that_somebody_put_in_our_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path)
    with pytest.raises(StepFailed, match="not a directory of ours"):
        own_directory(tmp_path / "run", 0o700)


def test_links_are_found_once_each_without_the_sentence_around_them() -> None:
    text = "Open http://localhost:8080/auth/confirm#token=a-b_c.\n(see <https://x.example/y?z=1>), http://localhost:8080/auth/confirm#token=a-b_c"
    assert find_links(text) == ("http://localhost:8080/auth/confirm#token=a-b_c", "https://x.example/y?z=1")


def test_codes_are_what_stands_alone_in_a_line() -> None:
    assert find_codes("Type it:\n\n7K2M-Q9XD\n\nnot ABCD-EFGH within a sentence, nor\nABCD-EFGI\n") == ["7K2M-Q9XD"]


def test_token_is_read_from_a_links_fragment_and_nowhere_else() -> None:
    assert find_token(("http://a/?token=wrong", "http://a/auth/confirm#token=right")) == "right"
    assert find_token(("http://a/",)) is None


def test_own_settings_win_over_env_file_and_both_over_the_embedded_parts(layout: Layout) -> None:
    (layout.root / ".env").write_text("SPAWNER_SIGNUP=closed\nSPAWNER_REDIS_URL=redis://mine:6379/0\nOTHER=1\n")
    given = given_settings(layout.root, {"SPAWNER_SIGNUP": "open", "PATH": "/bin"})
    settings = stack_settings(layout, given, PORTS, "unix:///var/run/docker.sock")
    assert settings["SPAWNER_SIGNUP"] == "open"
    assert settings["SPAWNER_REDIS_URL"] == "redis://mine:6379/0"
    assert settings["SPAWNER_DATABASE_URL"].endswith(f"host={layout.run}/pg")
    assert "OTHER" not in settings


@pytest.mark.parametrize(
    ("given", "owner"),
    [
        ({}, "postgresql+asyncpg://postgres@/spawner?host="),
        ({"SPAWNER_DATABASE_URL": "postgresql+asyncpg://app@db/spawner"}, ""),
        (
            {"SPAWNER_DATABASE_URL": "x", "SPAWNER_DATABASE_OWNER_URL": "postgresql+asyncpg://owner@db/spawner"},
            "postgresql+asyncpg://owner@db/spawner",
        ),
    ],
)
def test_migrations_alone_are_told_of_the_role_that_owns_the_tables(
    layout: Layout, given: dict[str, str], owner: str
) -> None:
    settings = stack_settings(layout, given, PORTS, "unix:///x")
    assert "SPAWNER_DATABASE_OWNER_URL" not in settings
    assert migration_settings(layout, given, settings).get("SPAWNER_DATABASE_OWNER_URL", "").startswith(owner)
    assert ("SPAWNER_DATABASE_OWNER_URL" in migration_settings(layout, given, settings)) == bool(owner)


def test_own_secret_takes_the_place_of_the_development_one(layout: Layout) -> None:
    assert "SPAWNER_SECRET_KEY_FILE" in stack_settings(layout, {}, PORTS, "unix:///x")
    assert "SPAWNER_SECRET_KEY_FILE" not in stack_settings(layout, {"SPAWNER_SECRET_KEY": "s"}, PORTS, "unix:///x")


def test_each_workspace_has_an_origin_of_its_own_unless_told_otherwise(layout: Layout) -> None:
    settings = stack_settings(layout, {}, PORTS, "unix:///x")
    assert settings["SPAWNER_WORKSPACE_URL"] == "http://{route}.localhost:8080"
    assert settings["SPAWNER_WORKSPACE_SITES"] == "http://*.localhost:8080"
    assert settings["SPAWNER_BIND"].startswith("127.0.0.1")


@pytest.mark.parametrize(
    ("workspace_url", "site", "local"),
    [
        ("http://127.0.0.1:8080/{route}", "http://127.0.0.1:8080", True),
        ("http://{route}.apps.localhost:8080", "http://*.apps.localhost:8080", True),
        ("http://192.0.2.7:8080/{route}", "http://192.0.2.7:8080", False),
    ],
)
def test_proxy_listens_where_the_two_addresses_say(layout: Layout, workspace_url: str, site: str, local: bool) -> None:
    settings = stack_settings(layout, {"SPAWNER_WORKSPACE_URL": workspace_url}, PORTS, "unix:///x")
    assert settings["SPAWNER_PUBLIC_SITE"] == "http://localhost:8080"
    assert settings["SPAWNER_WORKSPACE_SITES"] == site
    assert settings["SPAWNER_BIND"].startswith("127.0.0.1") is local


def test_settings_survive_their_file_and_a_shell_can_read_it(tmp_path: Path) -> None:
    settings = {"SPAWNER_A": 'it\'s a "value" with $HOME # and =', "SPAWNER_B": ""}
    write_environment(tmp_path / "env", settings)
    assert read_environment(tmp_path / "env") == settings
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600
    assert shlex.split((tmp_path / "env").read_text())[1] == "SPAWNER_B="
    assert read_environment(tmp_path / "none") == {}


def test_changed_fingerprint_changes_that_program_alone(layout: Layout) -> None:
    def sections(code: str) -> list[str]:
        programs = [Process("db", ("db",), layout.root), Process("api", ("api", "100%"), layout.root, fingerprint=code)]
        return render(layout, programs).split("[program:")

    before, after = sections("1"), sections("2")
    assert before[:2] == after[:2]
    assert before[2] != after[2]
    assert "100%%" in before[2]


def test_context_digest_follows_contents_and_ignores_the_machines_certificates(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\n")
    first = context_digest(tmp_path)
    (tmp_path / "ca.crt").write_text("a certificate")
    assert context_digest(tmp_path) == first
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    assert context_digest(tmp_path) != first


def test_certificates_are_those_that_this_machines_tools_are_told_to_trust(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.write_text("x")
    assert private_certificates({"SSL_CERT_FILE": str(bundle)}) == bundle
    assert private_certificates({"PIP_CERT": str(tmp_path / "missing")}) is None
    assert private_certificates({}) is None


@pytest.mark.parametrize("part", ["", "api"])
def test_logs_of_a_stack_that_does_not_run_are_not_waited_for(layout: Layout, part: str) -> None:
    with pytest.raises(StepFailed, match=r"nothing runs: `make up` starts Spawner$"):
        logs(layout, part)
    layout.logs.mkdir(parents=True)
    layout.log("api").write_text("an earlier line\n")
    with pytest.raises(StepFailed, match=re.escape(f"what was logged before is in {layout.logs}")):
        logs(layout, part)


def test_duration_has_its_two_largest_units() -> None:
    assert [duration(seconds) for seconds in (0, 59, 61, 3600, 90061)] == ["0s", "59s", "1m 1s", "1h", "1d 1h"]


def test_up_names_a_wrong_setting_before_it_touches_what_runs() -> None:
    clone = Layout(root=ROOT, run=ROOT / ".spawner" / "run")
    secret = {"SPAWNER_SECRET_KEY": "a secret of the tests 0123456789 abcdefgh"}
    good = stack_settings(clone, secret, PORTS, "unix:///x")
    check_settings(clone, good)
    with pytest.raises(StepFailed, match="SPAWNER_PUBLC_URL is not a setting: use SPAWNER_PUBLIC_URL"):
        check_settings(clone, {**good, "SPAWNER_PUBLC_URL": "http://x"})
