"""What is removed from texts that come out of containers."""

import pytest

from app.core.settings.model import Settings
from app.security.redaction import Redactor

SECRET = "a-secret-for-tests-0123456789-abcdefghij"


@pytest.fixture
def redactor() -> Redactor:
    return Redactor(
        Settings(
            _env_file=None,
            environment="development",
            secret_key=SECRET,
            database_url="postgresql+asyncpg://spawner:p%40ss%2Fword@db/spawner",
            redis_url="unix:///run/redis.sock?password=redis-pass",
            smtp_url="smtp://mailer:p%40ss@mail:25",
        )
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key {SECRET}, {SECRET}", "key [removed], [removed]"),
        ("postgresql://spawner:p%40ss%2Fword@db", "postgresql://spawner:[removed]@db"),
        ("password p@ss/word", "password [removed]"),
        ("password p@ss", "password [removed]"),
        ("AUTH redis-pass", "AUTH [removed]"),
        ("spawner at db", "spawner at db"),
    ],
)
def test_secrets_are_removed_however_they_are_spelled(redactor: Redactor, text: str, shown: str) -> None:
    assert redactor.redact(text) == shown


def test_control_characters_are_replaced_except_tab_and_line_feed(redactor: Redactor) -> None:
    assert redactor.redact("a\tb\nc\x00d\x1be\x7ff\x85g <i>ü") == "a\tb\nc\ufffdd\ufffde\ufffdf\ufffdg <i>ü"


def test_a_password_of_three_characters_is_left_alone() -> None:
    settings = Settings(
        _env_file=None, environment="development", secret_key=SECRET, redis_url="redis://:abc@localhost"
    )
    assert Redactor(settings).redact("abc") == "abc"


def test_where_no_secret_is_known_a_text_stays_as_it_is() -> None:
    settings = Settings(_env_file=None, environment="development", secret_key=SECRET, redis_url="redis://localhost")
    without = settings.model_copy(update={"secret_key": "", "database_url": "", "smtp_url": ""})
    assert Redactor(without).redact("a text") == "a text"
