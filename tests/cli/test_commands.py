"""The operator's commands, as processes of their own."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from app.auth.bootstrap import claim_bootstrap
from app.auth.operators import make_admin
from app.cli.commands import app
from app.cli.images import pull_images
from app.core.settings.model import Settings
from app.models import AuditEntry, Bootstrap, User
from app.resources import Resources
from app.runtime.base import ImagePullFailed, Report
from tests.conftest import ROOT, TestWorker
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime

Spawner = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def spawner(settings: Settings, tmp_path: Path) -> Spawner:
    """Run the command with this run's settings; gives its exit code and what it said."""

    async def run(*arguments: str, **changes: str) -> tuple[int, str]:
        given = {
            "SPAWNER_ENVIRONMENT": "development",
            "SPAWNER_SECRET_KEY": settings.secret_key,
            "SPAWNER_DATABASE_URL": settings.database_url,
            "SPAWNER_REDIS_URL": settings.redis_url,
            "SPAWNER_CATALOG": str(settings.catalog),
            "PYTHONPATH": str(ROOT),
            **changes,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.cli", *arguments),
            cwd=tmp_path,
            env=given,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode().strip()

    return run


async def user_of(resources: Resources, slug: str) -> User | None:
    async with resources.sessions() as session:
        user: User | None = await session.scalar(select(User).where(User.slug == slug))
        return user


async def test_a_user_is_deleted_once_the_operator_agrees(resources: Resources, spawner: Spawner) -> None:
    await make_user(resources)
    code, _ = await spawner("user", "delete", "alice@example.org")
    assert code == 1
    assert await user_of(resources, "alice") is not None
    code, said = await spawner("user", "delete", "Alice@example.org", "--yes")
    assert code == 0, said
    assert await user_of(resources, "alice") is None
    code, said = await spawner("user", "delete", "alice@example.org", "--yes")
    assert (code, said) == (1, "no account has the address alice@example.org")


async def test_the_last_admin_is_not_deleted_from_the_command_line_either(
    resources: Resources, spawner: Spawner
) -> None:
    await make_user(resources, "root", is_admin=True)
    code, said = await spawner("user", "delete", "root@example.org", "--yes")
    assert code == 1
    assert said.endswith("Make somebody else an admin first.")
    assert await user_of(resources, "root") is not None


async def test_an_operator_makes_the_first_admin_on_an_empty_database_where_nobody_may_sign_up(
    resources: Resources, spawner: Spawner, client: httpx.AsyncClient
) -> None:
    code, said = await spawner("admin", "create", "Root@Example.org", SPAWNER_SIGNUP="closed")
    assert (code, said) == (
        0,
        "root@example.org is an admin. To sign in, request a link at http://localhost:8080/sign-in",
    )
    code, said = await spawner("admin", "create", "root@example.org", "--link", SPAWNER_SIGNUP="closed")
    assert code == 0, said
    resources.settings.signup = "closed"
    token = said.rpartition("#token=")[2]
    signed_in = await client.post("/api/auth/verify", json={"token": token})
    assert (signed_in.status_code, signed_in.json()["user"]["is_admin"]) == (200, True)
    assert (await client.post("/api/auth/verify", json={"token": token})).status_code == 400
    async with resources.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Bootstrap)) == 1
        rows = await session.execute(select(AuditEntry.action, AuditEntry.actor).order_by(AuditEntry.id))
    assert [tuple(row) for row in rows] == [
        ("user_promoted", "command"),
        ("link_made", "command"),
        ("signed_in", "root@example.org"),
        ("workspace_launch_requested", "system"),
    ]


async def test_an_operator_makes_a_member_an_admin_and_nobody_else_becomes_one_by_being_first(
    resources: Resources,
) -> None:
    await make_user(resources)
    async with resources.unit_of_work() as session:
        made = await make_admin(session, "alice@example.org")
        assert not await claim_bootstrap(session, made.id)
    user = await user_of(resources, "alice")
    assert user is not None
    assert user.is_admin


async def test_an_account_is_blocked_let_in_promoted_and_demoted(resources: Resources, settings: Settings) -> None:
    await make_user(resources, "root", is_admin=True)
    await make_user(resources)
    given = {
        "SPAWNER_ENVIRONMENT": "development",
        "SPAWNER_SECRET_KEY": settings.secret_key,
        "SPAWNER_DATABASE_URL": settings.database_url,
        "SPAWNER_REDIS_URL": settings.redis_url,
    }

    async def run(act: str, who: str) -> tuple[int, str]:
        # In a thread, as a process of its own would cost seconds.
        arguments = ["user", act, f"{who}@example.org"]
        result = await asyncio.to_thread(CliRunner(env=given).invoke, app, arguments)
        return result.exit_code, result.output.strip() or str(result.exception)

    seen = []
    for act in ("block", "unblock", "promote", "demote"):
        assert (await run(act, "alice"))[0] == 0
        user = await user_of(resources, "alice")
        assert user is not None
        seen.append((user.blocked_at is not None, user.is_admin))
    assert seen == [(True, False), (False, False), (False, True), (False, False)]
    for act in ("block", "demote"):
        code, said = await run(act, "root")
        assert code == 1
        assert "Make somebody else an admin first." in said
    async with resources.reads() as session:
        by = await session.execute(select(AuditEntry.actor, AuditEntry.action).order_by(AuditEntry.id))
        assert [tuple(row) for row in by] == [
            ("command", "user_blocked"),
            ("command", "user_unblocked"),
            ("command", "user_promoted"),
            ("command", "user_demoted"),
        ]


async def test_a_users_limit_is_set_and_lifted(resources: Resources, spawner: Spawner) -> None:
    await make_user(resources)
    for given, stored in (("3", 3), ("0", 0), ("none", None)):
        code, said = await spawner("user", "limit", "alice@example.org", given)
        assert code == 0, said
        user = await user_of(resources, "alice")
        assert user is not None
        assert user.running_limit == stored
    for wrong in ("many", "10001"):
        code, said = await spawner("user", "limit", "alice@example.org", wrong)
        assert code == 2
        assert "must be a number" in said


async def test_a_doctor_says_what_is_wrong_and_ends_with_1(resources: Resources, spawner: Spawner) -> None:
    code, said = await spawner("doctor", "--json", SPAWNER_DOCKER_URL="unix:///nowhere")
    assert code == 1
    found = json.loads(said)
    assert {"name": "redis", "level": "ok", "text": "Redis answers", "remedy": ""} in found
    assert {finding["name"] for finding in found if finding["level"] == "fail"} >= {"engine", "egress"}


async def test_an_unknown_template_is_named(resources: Resources, spawner: Spawner) -> None:
    code, said = await spawner("images", "pull", "hello", "nonsense")
    assert (code, said) == (1, "not in the catalogue: nonsense")


async def test_the_catalogues_images_are_fetched_and_built_ones_looked_for(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    built, other = resources.catalog.templates
    fetched = other.model_copy(update={"build": None})
    runtime.missing |= {built.image, fetched.image}
    said: list[str] = []
    assert not await pull_images(worker.context, [built, fetched], said.append)
    assert said == [
        f"hello: {built.image} is missing; it is built on the server",
        f"jupyter: {fetched.image} is there",
    ]
    assert runtime.pulled == [fetched.image]
    runtime.missing.clear()
    assert await pull_images(worker.context, [built], said.append)


async def test_a_pull_that_fails_keeps_no_other_image_waiting(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    hello, jupyter = (template.model_copy(update={"build": None}) for template in resources.catalog.templates)

    async def before_pull(image: str, report: Report) -> None:
        if image == hello.image:
            raise ImagePullFailed

    runtime.before_pull = before_pull
    said: list[str] = []
    assert not await pull_images(worker.context, [hello, jupyter], said.append)
    assert said == [f"hello: {hello.image} image_pull_failed", f"jupyter: {jupyter.image} is there"]


async def test_orphans_without_an_engine_are_one_sentence(resources: Resources, spawner: Spawner) -> None:
    code, said = await spawner("orphans", SPAWNER_DOCKER_URL="unix:///nowhere")
    assert code == 1
    assert said.startswith("the engine refused (engine_unavailable)")
    assert len(said.splitlines()) == 1
