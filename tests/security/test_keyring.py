"""Secrets are replaced one by one, under running processes, and nothing ends before its secret is dropped."""

import asyncio
import os
import struct
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import structlog
from pydantic import ValidationError
from structlog.testing import capture_logs
from typer.testing import CliRunner

from app.cli.commands import app as commands
from app.core import clock
from app.core.settings.model import Settings, split_secrets
from app.resources import Resources
from app.security import keyring
from app.security.errors import InvalidToken
from app.security.keyring import Keyring, rotate
from app.security.redaction import REMOVED, Redactor
from app.security.tokens import Tokens
from tests.conftest import ROOT
from tests.support.factories import SignedIn, make_link, make_token, make_user, sign_in

FIRST, SECOND = "first-secret-0123456789-abcdefghijkl", "second-secret-0123456789-abcdefghijk"
SAME = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one secret."""
    made = tmp_path / "secret_key"
    made.write_text(f"{FIRST}\n")
    return made


def over(path: Path) -> Settings:
    return Settings(_env_file=None, secret_key_file=path)


def drop_all_but(count: int, path: Path) -> None:
    path.write_text("\n".join(path.read_text().splitlines()[:count]))


class TestRunning:
    """The API while its secrets are replaced."""

    @pytest.fixture
    def settings(self, settings: Settings, path: Path) -> Settings:
        return settings.model_copy(update={"secret_key": FIRST, "secret_key_file": path})

    @dataclass(frozen=True, slots=True)
    class Held:
        """Everything that somebody can hold."""

        who: SignedIn
        token: str
        links: list[str]

        async def works(self, client: httpx.AsyncClient) -> set[str]:
            """What of it still gets in; spends one of the links."""
            cookie, refresh = f"spawner_session={self.who.cookie}", f"spawner_refresh={self.who.refresh}"
            bearer = {"Authorization": f"Bearer {self.token}"}
            answers = {
                "access token": await client.get("/api/user/me", headers=self.who.headers),
                "cookie": await client.get("/api/user/me", headers={**SAME, "Cookie": cookie}),
                "refresh": await client.post("/api/auth/refresh", headers={**SAME, "Cookie": refresh}),
                "token": await client.get("/api/user/me", headers=bearer),
                "link": await client.post("/api/auth/verify", json={"token": self.links.pop()}),
            }
            client.cookies.clear()
            return {name for name, answer in answers.items() if answer.is_success}

    @pytest.fixture
    async def held(self, resources: Resources) -> Held:
        who = await sign_in(resources)
        others = [await make_user(resources, f"u{i}") for i in range(3)]
        token = await make_token(resources, who.user, "read")
        return self.Held(who, token, [await make_link(resources, one) for one in others])

    async def test_what_was_made_before_stays_good_until_its_secret_is_dropped(
        self, client: httpx.AsyncClient, resources: Resources, path: Path, held: Held
    ) -> None:
        everything = {"access token", "cookie", "refresh", "token", "link"}
        assert await held.works(client) == everything
        assert rotate(path, 2) == 2
        assert await held.works(client) == everything
        assert rotate(path, 2) == 2
        assert await held.works(client) == set()
        assert (await client.get("/api/user/me", headers=(await sign_in(resources, "carol")).headers)).is_success

    async def test_a_session_that_is_renewed_moves_to_the_new_secret(
        self, client: httpx.AsyncClient, path: Path, held: Held, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cookie = {**SAME, "Cookie": f"spawner_refresh={held.who.refresh}"}
        rotate(path, 2)
        later = clock.system() + timedelta(minutes=1)
        monkeypatch.setattr(clock, "source", lambda: later)
        first = await client.post("/api/auth/refresh", headers=cookie)
        # Between two tabs that renew together the secret is replaced once more.
        rotate(path, 3)
        second = await client.post("/api/auth/refresh", headers=cookie)
        assert first.headers.get_list("set-cookie") == second.headers.get_list("set-cookie")
        drop_all_but(2, path)
        pair = "; ".join(one.partition(";")[0] for one in first.headers.get_list("set-cookie"))
        client.cookies.clear()
        assert (await client.get("/api/user/me", headers={**SAME, "Cookie": pair})).status_code == 200
        assert (await client.get("/api/user/me", headers=held.who.headers)).status_code == 401

    async def test_another_process_that_has_the_new_secret_is_understood_at_once(
        self, client: httpx.AsyncClient, path: Path, held: Held
    ) -> None:
        script = (
            "import sys; from pathlib import Path; from app.security.keyring import rotate\n"
            "from app.security.tokens import Tokens; from app.core.settings.model import Settings\n"
            "from uuid import UUID\n"
            "path = Path(sys.argv[1]); rotate(path, 2)\n"
            "tokens = Tokens(Settings(_env_file=None, secret_key_file=path))\n"
            "print(tokens.issue(UUID(sys.argv[2]), UUID(sys.argv[3]), is_admin=False))"
        )
        who = (str(held.who.user.id), str(held.who.session.id))
        command = [sys.executable, "-c", script, str(path), *who]
        made = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=True)
        answer = await client.get("/api/user/me", headers={"Authorization": f"Bearer {made.stdout.strip()}"})
        assert answer.status_code == 200
        assert (await client.get("/api/user/me", headers=held.who.headers)).status_code == 200


def test_the_newest_secret_signs_and_hashes(path: Path) -> None:
    path.write_text(f"{SECOND}\n\n  {FIRST}  \n")
    both, first, second = (
        Tokens(over(path)),
        *(Tokens(Settings(_env_file=None, secret_key=secret)) for secret in (FIRST, SECOND)),
    )
    assert both.hash("link", "x") == second.hash("link", "x")
    assert both.hashes("link", "x") == [second.hash("link", "x"), first.hash("link", "x")]
    assert both.derive("access", "x") == [*second.derive("access", "x"), *first.derive("access", "x")]


@pytest.mark.parametrize("content", ["", "short\n", f"{SECOND}\nshort\n", None])
def test_a_file_that_cannot_be_used_changes_nothing_that_runs(path: Path, content: str | None) -> None:
    tokens = Tokens(over(path))
    before = tokens.hash("link", "x")
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    assert tokens.hash("link", "x") == before
    path.write_text(f"{SECOND}\n{FIRST}\n")
    assert len(tokens.hashes("link", "x")) == 2
    assert tokens.hash("link", "x") != before


def test_a_file_that_cannot_be_used_is_said_once_each_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "log", structlog.get_logger())
    ring = Keyring(Settings(_env_file=None, secret_key_file=path))
    with capture_logs() as said:
        for content in ("weak", FIRST, "", None):
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_text(content)
            for _ in range(3):
                assert [key.secret for key in ring()] == [FIRST]
    warning = {"event": "secret_key_file_unusable", "log_level": "warning"}
    assert said == [warning | {"error": "ValueError"}, warning | {"error": "ValueError"}]
    with capture_logs() as said:
        path.write_text(SECOND)
        assert [key.secret for key in ring()] == [SECOND]
        path.unlink()
        ring()
    gone = {"error": "FileNotFoundError", "cause": "No such file or directory", "object": str(path)}
    assert said == [warning | gone]


def test_a_file_is_read_when_it_has_changed_and_no_oftener(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Keyring(over(path))
    read: list[str] = []

    def note(content: str) -> list[str]:
        read.append(content)
        return split_secrets(content)

    monkeypatch.setattr(keyring, "split_secrets", note)
    for _ in range(3):
        ring()
    path.write_text(f"{SECOND}\n{FIRST}\n")
    for _ in range(3):
        ring()
    assert read == [f"{FIRST}\n", f"{SECOND}\n{FIRST}\n"]


def test_the_new_file_is_made_beside_the_old_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def note(_: int) -> None:
        seen.append(sorted(found.name for found in path.parent.iterdir()))

    monkeypatch.setattr(os, "fsync", note)
    assert rotate(path, 2) == 2
    made, kept = seen
    assert made[0].startswith(".secret_key.")
    assert made[1:] == kept == ["secret_key"]


def test_each_line_must_be_strong(path: Path) -> None:
    path.write_text(f"{FIRST}\nweak\n")
    with pytest.raises(ValidationError, match="SPAWNER_SECRET_KEY is missing or weak"):
        over(path)


def test_every_secret_is_taken_out_of_logs(path: Path) -> None:
    settings = over(path)
    rotate(path, 2)
    new, old = path.read_text().splitlines()
    assert old == FIRST
    assert Redactor(settings).redact(f"{new} {old}") == f"{REMOVED} {REMOVED}"


def test_a_running_process_removes_a_rotated_secret_at_once_and_a_dropped_one_still(path: Path) -> None:
    redactor = Redactor(over(path))
    assert redactor.redact(FIRST) == REMOVED
    rotate(path, 1)
    (new,) = path.read_text().splitlines()
    assert redactor.redact(f"{new} {FIRST}") == f"{REMOVED} {REMOVED}"


def test_a_logger_that_removes_secrets_tells_once_that_their_file_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redactor, said = Redactor(over(path)), []

    def note(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        said.append(redactor.redact(f"{event['event']} {FIRST}"))
        raise structlog.DropEvent

    monkeypatch.setattr(keyring, "log", structlog.wrap_logger(structlog.PrintLogger(), processors=[note]))
    path.unlink()
    assert redactor.redact(FIRST) == REMOVED
    assert redactor.redact(FIRST) == REMOVED
    assert said == [f"secret_key_file_unusable {REMOVED}"]


class TestCommand:
    def run(self, **environment: str) -> tuple[int, str]:
        keep = environment.pop("keep", "2")
        given = {"SPAWNER_ENVIRONMENT": "development", "SPAWNER_SECRET_KEY": "", "SPAWNER_SECRET_KEY_FILE": ""}
        result = CliRunner().invoke(commands, ["keys", "rotate", "--keep", keep], env={**given, **environment})
        return result.exit_code, result.output + (str(result.exception) if result.exception else "")

    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o440])
    def test_a_fresh_secret_comes_first_and_the_files_mode_stays(self, path: Path, mode: int) -> None:
        path.chmod(mode)
        code, said = self.run(SPAWNER_SECRET_KEY_FILE=str(path))
        assert (code, said.strip()) == (0, f"{path} begins with a new secret; 1 older one verifies")
        new, old = path.read_text().splitlines()
        assert old == FIRST
        assert len(new) == 64
        assert path.stat().st_mode & 0o777 == mode
        assert [one.name for one in path.parent.iterdir()] == [path.name]
        code, said = self.run(SPAWNER_SECRET_KEY_FILE=str(path), keep="1")
        assert said.strip() == f"{path} begins with a new secret; 0 older ones verify"
        assert len(path.read_text().splitlines()) == 1

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_owner_and_group_stay_and_who_could_read_it_still_can(self, path: Path) -> None:
        os.chown(path, 1234, 2345)
        path.chmod(0o640)
        rotate(path, 2)
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 2345, 0o640)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
    def test_a_file_whose_owner_cannot_be_kept_is_not_rotated(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o777)
            path = Path(folder) / "secret_key"
            path.write_text(f"{FIRST}\n")
            path.chmod(0o640)
            os.seteuid(1234)
            try:
                code, said = self.run(SPAWNER_SECRET_KEY_FILE=str(path))
            finally:
                os.seteuid(0)
            assert code == 1
            assert f"{path} was not changed: Operation not permitted" in said
            assert path.read_text() == f"{FIRST}\n"
            assert [found.name for found in Path(folder).iterdir()] == ["secret_key"]

    def test_an_access_list_of_the_file_stays(self, path: Path) -> None:
        given = struct.pack("<I", 2)  # version 2: entries of tag, permissions and id
        for tag, power, who in ((1, 6, -1), (2, 4, 1234), (4, 4, -1), (16, 4, -1), (32, 0, -1)):
            given += struct.pack("<HHi", tag, power, who)
        try:
            os.setxattr(path, "system.posix_acl_access", given)
        except OSError:
            return  # this file system keeps none
        rotate(path, 2)
        assert os.getxattr(path, "system.posix_acl_access") == given

    def test_a_link_to_the_file_stays_a_link(self, path: Path) -> None:
        link = path.with_name("link")
        link.symlink_to(path.name)
        rotate(link, 2)
        assert link.is_symlink()
        assert len(path.read_text().splitlines()) == 2

    def test_a_secret_in_the_environment_is_not_rotated_but_explained(self) -> None:
        code, said = self.run(SPAWNER_SECRET_KEY=FIRST)
        assert code == 1
        assert "set SPAWNER_SECRET_KEY_FILE instead" in said

    def test_at_once_each_rotation_counts(self, path: Path) -> None:
        threads = [threading.Thread(target=rotate, args=(path, 9)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(path.read_text().splitlines())) == 9

    def test_a_token_of_a_dropped_secret_is_refused(self, path: Path) -> None:
        tokens = Tokens(over(path))
        token = tokens.issue(uuid4(), uuid4(), is_admin=False)
        rotate(path, 1)
        with pytest.raises(InvalidToken):
            tokens.read(token)
