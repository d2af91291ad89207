"""Where settings come from, and what production does not start with."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.core.settings.model import Settings
from app.core.settings.reading import load_settings

SECRET = "a-secret-for-tests-0123456789-abcdefghij"
FILED = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "SMTP_URL")
SAFE = {
    "public_url": "https://spawner.example.org",
    "workspace_url": "https://{route}.apps.example.org",
    "database_url": "postgresql+asyncpg://spawner:q7Zb0c1xK0hYkq3V@db.example.org/spawner",
    "redis_url": "rediss://:q7Zb0c1xK0hYkq3V@redis.example.org:6379/0",
    "smtp_url": "smtp+starttls://spawner:q7Zb0c1xK0hYkq3V@mail.example.org",
    "trusted_proxies": ["192.0.2.7"],
}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `.env`, and a secret."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPAWNER_SECRET_KEY", SECRET)


def refused() -> str:
    with pytest.raises(SystemExit) as ended:
        load_settings()
    return str(ended.value)


def production(**changes: Any) -> Settings:
    return Settings(_env_file=None, secret_key=SECRET, **{**SAFE, **changes})


@pytest.mark.parametrize("name", FILED)
def test_a_secret_is_read_from_the_file_that_its_setting_names(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scheme = {"REDIS_URL": "redis", "SMTP_URL": "smtps"}.get(name, "postgresql+asyncpg")
    (tmp_path / "held").write_text(f"{scheme}://:q7Zb0c1xK0hYkq3V@localhost/3\n")
    monkeypatch.setenv("SPAWNER_ENVIRONMENT", "development")
    monkeypatch.setenv(f"SPAWNER_{name}_FILE", str(tmp_path / "held"))
    assert getattr(load_settings(), name.lower()) == f"{scheme}://:q7Zb0c1xK0hYkq3V@localhost/3"


def test_the_file_may_be_named_in_the_env_file(tmp_path: Path) -> None:
    (tmp_path / "held").write_text("redis://localhost/3")
    (tmp_path / ".env").write_text(f"SPAWNER_REDIS_URL_FILE={tmp_path}/held\n")
    assert load_settings().redis_url == "redis://localhost/3"


def test_each_secret_has_such_a_setting() -> None:
    hidden = {name.upper() for name, field in Settings.model_fields.items() if not field.repr}
    assert hidden == {*FILED, "SECRET_KEY"}
    assert "secret_key_file" in Settings.model_fields


def test_a_file_that_is_no_good_stops_the_start_with_a_line_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfecanary")
    (tmp_path / "empty").write_text(" \n")
    # Somebody wrote the secret itself where the file's name belongs.
    monkeypatch.setenv("SPAWNER_DATABASE_URL_FILE", "postgresql://canary@db/spawner")
    monkeypatch.setenv("SPAWNER_REDIS_URL_FILE", str(tmp_path / "bytes"))
    monkeypatch.setenv("SPAWNER_SMTP_URL_FILE", str(tmp_path / "empty"))
    said = refused()
    assert said.splitlines() == [
        "SPAWNER_DATABASE_URL_FILE: the file cannot be read: No such file or directory",
        "SPAWNER_REDIS_URL_FILE: the file is not UTF-8 text",
        "SPAWNER_SMTP_URL_FILE: the file is empty",
    ]


def test_a_secret_that_is_set_twice_stops_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "held").write_text("redis://canary@localhost/3")
    monkeypatch.setenv("SPAWNER_REDIS_URL", "redis://canary@localhost/4")
    monkeypatch.setenv("SPAWNER_REDIS_URL_FILE", str(tmp_path / "held"))
    assert refused() == "SPAWNER_REDIS_URL_FILE: SPAWNER_REDIS_URL is also set; set only one of them"


def test_a_file_with_a_wrong_value_is_refused_without_a_word_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "held").write_text("smtp://canary:password@mail.example.org")
    monkeypatch.setenv("SPAWNER_SMTP_URL_FILE", str(tmp_path / "held"))
    said = refused()
    assert said.count("SPAWNER_SMTP_URL") == 2
    assert "canary" not in said


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"public_url": "http://spawner.example.org"}, "SPAWNER_PUBLIC_URL"),
        ({"public_url": "http://192.0.2.1:8080"}, "SPAWNER_PUBLIC_URL"),
        ({"workspace_url": "http://{route}.apps.example.org"}, "SPAWNER_WORKSPACE_URL"),
        ({"smtp_url": "smtp://spawner:q7Zb0c1xK0hYkq3V@mail.example.org"}, "SPAWNER_SMTP_URL"),
        ({"database_url": "postgresql+asyncpg://postgres:postgres@db/spawner"}, "SPAWNER_DATABASE_URL"),
        ({"database_url": "postgresql+asyncpg://spawner:spawner@localhost/spawner"}, "SPAWNER_DATABASE_URL"),
        ({"redis_url": "redis://:Changeme@redis/0"}, "SPAWNER_REDIS_URL"),
    ],
)
def test_what_production_does_not_start_with_is_fine_in_development(changes: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named) as refusal:
        production(**changes)
    assert "q7Zb0c1xK0hYkq3V" not in str(refusal.value)
    assert production(environment="development", **changes).concerns == []


def test_production_starts_with_tls_and_passwords_or_on_its_own_machine() -> None:
    assert production().concerns == []
    local = {
        "public_url": "http://localhost:8080",
        "workspace_url": "http://{route}.localhost:8080",
        "smtp_url": "smtp://spawner:q7Zb0c1xK0hYkq3V@[::1]:25",
        "database_url": "postgresql+asyncpg://postgres@/spawner?host=/run/pg",
        "redis_url": "unix:///run/redis.sock?db=0",
    }
    assert production(**local).concerns == []
    assert production(workspace_url="http://{route}.apps.localhost:8080").concerns == []


def test_production_puts_workspaces_on_one_origin_only_when_told_to() -> None:
    shared = {"workspace_url": "https://apps.example.org/{route}"}
    with pytest.raises(ValueError, match="SPAWNER_ALLOW_SHARED_ORIGIN=yes"):
        production(**shared)
    assert not production(**shared, allow_shared_origin="yes").host_mode
    assert not production(environment="development", **shared).host_mode


def test_servers_without_a_password_are_named_once_at_the_start() -> None:
    network = {"database_url": "postgresql+asyncpg://spawner@db/spawner", "redis_url": "redis://redis:6379/0"}
    said = production(**network).concerns
    assert [line.split()[0] for line in said] == ["SPAWNER_DATABASE_URL", "SPAWNER_REDIS_URL"]
    assert [line for line in said if "reaches db" in line or "reaches redis" in line] == said


@pytest.mark.parametrize("networks", ["203.0.113.0/24,2001:db8::/32,192.0.2.1", "", " 203.0.113.0/24 , "])
def test_networks_without_a_limit_on_links_are_read(monkeypatch: pytest.MonkeyPatch, networks: str) -> None:
    monkeypatch.setenv("SPAWNER_MAGIC_LINKS_EXEMPT_NETWORKS", networks)
    assert Settings(_env_file=None).magic_links_exempt_networks == [
        part.strip() for part in networks.split(",") if part.strip()
    ]


@pytest.mark.parametrize("networks", ["*", "203.0.113.1/24", "example.org", "203.0.113.0/33"])
def test_what_is_no_network_ends_the_start(monkeypatch: pytest.MonkeyPatch, networks: str) -> None:
    monkeypatch.setenv("SPAWNER_MAGIC_LINKS_EXEMPT_NETWORKS", networks)
    with pytest.raises(ValidationError, match="neither an address nor a network"):
        Settings(_env_file=None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"PUBLC_URL": "x"}, "SPAWNER_PUBLC_URL is not a setting: use SPAWNER_PUBLIC_URL, or remove it"),
        ({"REDIS_URI": "x"}, "SPAWNER_REDIS_URI is not a setting: use SPAWNER_REDIS_URL, or remove it"),
        ({"SECRET_KEYFILE": "x"}, "SPAWNER_SECRET_KEYFILE is not a setting: use SPAWNER_SECRET_KEY_FILE, or remove it"),
        ({"DATABASE_URL": "postgresql://a:canary@db/x"}, "SPAWNER_DATABASE_URL: must look like postgresql+asyncpg://"),
        ({"DATABASE_URL": "mysql://a:canary@db/x"}, "SPAWNER_DATABASE_URL: must look like postgresql+asyncpg://"),
        ({"DATABASE_URL": "postgresql+asyncpg://a@db:canary/x"}, "SPAWNER_DATABASE_URL: must look like"),
        ({"DATABASE_OWNER_URL": "postgres://a:canary@db/x"}, "SPAWNER_DATABASE_OWNER_URL: must look like"),
        ({"REDIS_URL": "http://canary@redis"}, "SPAWNER_REDIS_URL: must look like redis://"),
        ({"REDIS_URL": "redis:6379"}, "SPAWNER_REDIS_URL: must look like redis://"),
        ({"SMTP_URL": "mail.example.org:25"}, "SPAWNER_SMTP_URL: must look like smtp+starttls://"),
        ({"SIGNUP": "domains"}, "SPAWNER_SIGNUP=domains needs at least one domain in SPAWNER_SIGNUP_DOMAINS"),
        ({"MAGIC_LINK_SECONDS": "86401"}, "SPAWNER_MAGIC_LINK_SECONDS: Input should be less than or equal to 86400"),
        ({"MAIL_FROM": "Spawner"}, "SPAWNER_MAIL_FROM: must contain an address"),
        ({"MAIL_FROM": ""}, "SPAWNER_MAIL_FROM: must contain an address"),
        ({"MAIL_FROM": "Spawner <spawner@>"}, "SPAWNER_MAIL_FROM: must contain an address"),
        (
            {"SECRET_KEY": "", "SECRET_KEY_FILE": "/nowhere"},
            "SPAWNER_SECRET_KEY_FILE: the file cannot be read: No such",
        ),
        (
            {"SECRET_KEY": "", "SECRET_KEY_FILE": "/"},
            "SPAWNER_SECRET_KEY_FILE: the file cannot be read: Is a directory",
        ),
    ],
)
def test_what_no_process_could_work_with_is_one_line_that_names_it_and_what_to_write(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str
) -> None:
    monkeypatch.setenv("SPAWNER_ENVIRONMENT", "development")
    for name, value in given.items():
        monkeypatch.setenv(f"SPAWNER_{name}", value)
    (line,) = refused().splitlines()
    assert line.startswith(said)
    assert "canary" not in line


def test_a_misspelt_name_in_the_env_file_is_named_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SPAWNER_SIGNUP_DOMAIN=example.org\n")
    assert refused() == "SPAWNER_SIGNUP_DOMAIN is not a setting: use SPAWNER_SIGNUP_DOMAINS, or remove it"


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPAWNER_ENVIRONMENT", "development")
    for name in ("PORT", "PORT_8000_TCP_ADDR", "SERVICE_HOST", "API_UPSTREAM", "PUBLIC_SITE", "SOMETHING_OF_MINE"):
        monkeypatch.setenv(f"SPAWNER_{name}", "x")
    load_settings()


def test_production_behind_tls_names_its_proxy_or_says_that_there_is_none() -> None:
    with pytest.raises(ValueError, match="SPAWNER_TRUSTED_PROXIES is empty"):
        production(trusted_proxies=[])
    assert production(trusted_proxies="none").proxies == []
    assert production(trusted_proxies="192.0.2.7, 10.0.0.0/8").proxies == ["192.0.2.7", "10.0.0.0/8"]
    with pytest.raises(ValueError, match="is neither an address"):
        production(trusted_proxies="none, 192.0.2.7")
