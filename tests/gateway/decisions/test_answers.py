"""What the gateway answers to one request, field by field, without a proxy before it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import update

from app.core.addresses import Route
from app.core.errors import MethodNotAllowed, NotFound, Unauthorized
from app.gateway import wake
from app.gateway.authorization import SessionGrant
from app.gateway.decide import ENTRY_SECONDS, MOVING, ErrorPage, Redirect, serves
from app.gateway.errors import (
    InvalidHandoff,
    SharedNotRunning,
    WorkspaceNotRunning,
    WorkspaceUnreachable,
)
from app.http.cookies import Cookie
from app.models import JobKind, JobState, Workspace, WorkspaceStatus
from app.security.tokens import new_token
from app.workspaces.errors import Refused
from app.workspaces.states import RELEASED
from tests.support.clocks import Time
from tests.support.factories import sign_in
from tests.support.gate import ADMITTED, APART, OWN, Gate, make_workspace

S = WorkspaceStatus


class TestLetThrough:
    async def test_to_the_container_with_what_it_needs_to_know(self, gate: Gate) -> None:
        ours = f"spawner_workspace={gate.value}; spawner_session=x"
        assert await gate.ask(cookies=(ours, "own=1; other=2")) == replace(ADMITTED, cookie="own=1; other=2")
        assert gate.relay.issued == []

    async def test_a_container_of_ipv6_is_named_in_brackets(self, gate: Gate) -> None:
        await gate.change(host="fd00::7")
        assert await gate.ask() == replace(ADMITTED, upstream="[fd00::7]:8888")

    async def test_a_websocket_by_the_relay(self, gate: Gate) -> None:
        found = await gate.ask(upgrade=True, origin=OWN)
        assert found == replace(ADMITTED, upstream="127.0.0.1:9", ticket="a ticket")
        entry = SessionGrant(gate.alice.session.id, gate.workspace.id, gate.workspace.revision, gate.alice.user.id)
        assert gate.relay.issued == [(entry, "10.0.0.7", 8888)]

    async def test_a_template_that_knows_its_prefix_and_one_that_is_gone_keep_it(self, gate: Gate) -> None:
        for template in ("jupyter", "gone"):
            workspace = await make_workspace(gate.resources, gate.alice, template=template)
            value = await gate.let_in(gate.alice, workspace)
            found = await gate.ask(uri=f"/alice-{template}/", cookies=(f"spawner_workspace={value}",))
            assert found == replace(ADMITTED, prefix="", tier="few", base=f"/alice-{template}/")

    async def test_in_host_mode_there_is_no_prefix_and_no_base(self, gate: Gate) -> None:
        gate.resources.settings.workspace_url = APART
        found = await gate.ask(uri="/lab")
        assert found == replace(ADMITTED, prefix="", base="")

    async def test_a_guest_under_their_own_name(self, gate: Gate) -> None:
        value = await gate.share_with("bob")
        assert await gate.ask(cookies=(f"spawner_workspace={value}",)) == replace(
            ADMITTED, user="bob", prefix="", base=""
        )

    async def test_no_guest_where_workspaces_share_an_origin(self, gate: Gate) -> None:
        value = await gate.share_with("bob")
        gate.resources.settings.workspace_url = f"{OWN}/{{route}}"
        with pytest.raises(Unauthorized):
            await gate.ask(cookies=(f"spawner_workspace={value}",))
        gate.resources.settings.workspace_url = APART
        assert await gate.ask(cookies=(f"spawner_workspace={value}",))

    async def test_a_visit_is_noted_and_a_refused_one_is_not(self, gate: Gate, time: Time) -> None:
        await gate.change(active_at=time.now - timedelta(hours=1))
        with pytest.raises(WorkspaceUnreachable):
            await gate.ask(unreachable="yes")
        assert await used(gate) == time.now - timedelta(hours=1)
        await gate.ask()
        assert await used(gate) == time.now


async def used(gate: Gate) -> Any:
    async with gate.resources.sessions() as session:
        return (await session.get_one(Workspace, gate.workspace.id)).active_at


class TestNames:
    async def test_the_bare_origin_is_the_front_door_for_people(self, gate: Gate) -> None:
        assert await gate.page(uri="/") == Redirect("http://localhost:8080/", 302)
        for changes in ({"uri": "/", "page": False}, {"uri": "/x.y", "page": True}):
            with pytest.raises(NotFound):
                await gate.ask(**changes)

    async def test_a_slug_alone_is_the_default_workspace(self, gate: Gate) -> None:
        assert await gate.ask(uri="/alice/lab?a=1") == Redirect(f"{OWN}/alice-hello/lab?a=1", 307)
        assert await gate.ask(uri="/alice") == Redirect(f"{OWN}/alice-hello/", 307)
        assert await gate.ask(uri="/alice?a=1") == Redirect(f"{OWN}/alice-hello/?a=1", 307)

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_a_missing_slash_is_put_there(self, gate: Gate, method: str) -> None:
        assert await gate.ask(method=method, uri="/alice-hello?a=1") == Redirect(f"{OWN}/alice-hello/?a=1", 308)

    @pytest.mark.parametrize("method", ["POST", "OPTIONS"])
    async def test_but_not_for_what_would_lose_its_body(self, gate: Gate, method: str) -> None:
        with pytest.raises(NotFound):
            await gate.ask(method=method, uri="/alice-hello")


class TestNobody:
    async def test_a_person_is_sent_to_sign_in_and_comes_back_with_the_same_state(self, gate: Gate) -> None:
        found = await gate.page(cookies=())
        parts = urlsplit(found.location)
        query = parse_qs(parts.query)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == "http://localhost:8080/open/alice-hello"
        assert (found.status, query["next"]) == (302, ["/lab?a=1"])
        (state,) = query["state"]
        assert len(state) == 43
        assert found.cookie == Cookie("spawner_entry", state, "/alice-hello", False, ENTRY_SECONDS)
        again = await gate.page(cookies=(f"spawner_entry=short; spawner_entry={state}; x=1",))
        assert again == found

    async def test_what_stands_in_the_address_keeps_its_bytes(self, gate: Gate) -> None:
        found = await gate.page(cookies=(), uri="/alice-hello/\xe4?q=%C3%A4")
        assert "next=%2F%E4%3Fq%3D%25C3%25A4&" in found.location

    async def test_a_program_is_unauthorized(self, gate: Gate) -> None:
        with pytest.raises(Unauthorized):
            await gate.ask(cookies=())

    async def test_who_may_open_another_one_finds_nothing(self, gate: Gate) -> None:
        with pytest.raises(NotFound):
            await gate.ask(uri="/bob-hello/")
        found = await gate.page(uri="/bob-hello/")
        assert (type(found.error), found.status) == (NotFound, None)


class TestNotRunning:
    @pytest.mark.parametrize("status", sorted(MOVING))
    async def test_one_that_moves_asks_again_soon(self, gate: Gate, status: WorkspaceStatus) -> None:
        await gate.change(status=status)
        with pytest.raises(WorkspaceNotRunning) as refused:
            await gate.ask()
        assert type(refused.value) is WorkspaceNotRunning
        assert refused.value.headers == {"Retry-After": "3"}
        found = await gate.page(cookies=(f"spawner_workspace={await gate.share_with('bob')}",))
        assert type(found.error) is WorkspaceNotRunning
        assert (found.status, found.route) == (status, Route("alice", "hello", "", "/lab?a=1"))

    @pytest.mark.parametrize("status", sorted(RELEASED))
    async def test_a_guest_is_told_who_can_start_it(self, gate: Gate, status: WorkspaceStatus) -> None:
        await gate.change(status=status)
        value = await gate.share_with("bob")
        found = await gate.page(cookies=(f"spawner_workspace={value}",))
        assert type(found.error) is SharedNotRunning
        assert found.error.headers == {"Retry-After": "30"}
        assert await gate.jobs() == []
        with pytest.raises(WorkspaceNotRunning) as refused:
            await gate.ask()
        assert type(refused.value) is WorkspaceNotRunning

    @pytest.mark.parametrize("lacking", [{"host": None}, {"port": None}])
    async def test_one_without_an_address_is_not_passed_to(self, gate: Gate, lacking: dict[str, None]) -> None:
        await gate.change(**lacking)
        with pytest.raises(WorkspaceNotRunning):
            await gate.ask()

    async def test_one_that_does_not_answer(self, gate: Gate) -> None:
        found = await gate.page(unreachable="yes")
        assert isinstance(found, ErrorPage)
        assert isinstance(found.error, WorkspaceUnreachable)
        assert (found.error.headers, found.status) == ({"Retry-After": "5"}, S.RUNNING)

    async def test_a_person_starts_it_by_visiting_and_a_program_does_not(self, gate: Gate) -> None:
        await gate.change(status=S.STOPPED)
        with pytest.raises(WorkspaceNotRunning):
            await gate.ask()
        assert await gate.jobs() == []
        found = await gate.page()
        assert found.status is S.QUEUED
        assert await gate.jobs() == [(JobKind.LAUNCH, JobState.QUEUED)]
        await gate.page()
        assert len(await gate.jobs()) == 1

    async def test_an_unreachable_one_is_not_started(self, gate: Gate) -> None:
        await gate.change(status=S.STOPPED)
        await gate.page(unreachable="yes")
        assert await gate.jobs() == []

    async def test_a_template_that_does_not_say_so_is_not_started(self, gate: Gate) -> None:
        workspace = await make_workspace(gate.resources, gate.alice, template="jupyter", status=S.STOPPED)
        value = await gate.let_in(gate.alice, workspace)
        found = await gate.page(uri="/alice-jupyter/", cookies=(f"spawner_workspace={value}",))
        assert found.status is S.STOPPED
        assert await gate.jobs() == []

    async def test_one_that_failed_is_not_started_within_a_minute(self, gate: Gate, time: Time) -> None:
        await gate.change(status=S.ERROR, status_at=time.now)
        time.pass_(seconds=59.999)
        assert (await gate.page()).status is S.ERROR
        assert await gate.jobs() == []
        time.pass_(seconds=0.001)
        assert (await gate.page()).status is S.QUEUED

    async def test_a_launch_that_is_refused_says_why(self, gate: Gate) -> None:
        gate.resources.settings.user_running_limit = 1
        await make_workspace(gate.resources, gate.alice, template="jupyter", reserved_memory=1, reserved_cpus=1)
        await gate.change(status=S.STOPPED)
        found = await gate.page()
        assert isinstance(found.error, Refused)
        assert (found.status, found.route.name) == (None, "alice-hello")

    async def test_one_that_sleeps_is_waited_for_until_the_time_is_over(
        self, gate: Gate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wake, "WAKE_SECONDS", 0.3)
        await gate.change(status=S.PAUSED)
        with pytest.raises(WorkspaceNotRunning):
            await gate.ask()
        assert await gate.jobs() == [(JobKind.LAUNCH, JobState.QUEUED)]
        guest = await gate.share_with("bob")
        with pytest.raises(WorkspaceNotRunning):
            await gate.ask(cookies=(f"spawner_workspace={guest}",))
        assert len(await gate.jobs()) == 1


async def test_the_tier_falls_with_the_containers_of_the_owner(gate: Gate) -> None:
    found = [(await gate.ask()).tier]
    for number in range(4):
        await make_workspace(gate.resources, gate.alice, template=f"more{number}")
        found.append((await gate.ask()).tier)
    stopped = WorkspaceStatus.STOPPED
    await make_workspace(gate.resources, await sign_in(gate.resources, "bob"), template="more")
    assert found == ["", "few", "few", "few", "many"]
    async with gate.resources.unit_of_work() as session:
        await session.execute(update(Workspace).where(Workspace.template.like("more%")).values(status=stopped))
    assert (await gate.ask()).tier == ""


class TestEntering:
    async def test_head_and_post_spend_nothing(self, gate: Gate) -> None:
        for method in ("HEAD", "POST", "OPTIONS"):
            with pytest.raises(MethodNotAllowed):
                await gate.ask(method=method, uri="/alice-hello/.spawner/enter?code=x&next=/lab")

    async def test_a_question_that_may_be_put_again_spends_nothing(self, gate: Gate) -> None:
        with pytest.raises(MethodNotAllowed):
            await gate.ask(repeatable=True, uri="/alice-hello/.spawner/enter?code=x&next=/lab")

    async def test_a_code_that_is_none_is_refused(self, gate: Gate) -> None:
        uri = "/alice-hello/.spawner/enter?code=x&next=/lab"
        with pytest.raises(InvalidHandoff):
            await gate.ask(uri=uri, cookies=(f"spawner_entry={new_token()}",))
        found = await gate.page(uri=uri, cookies=())
        assert isinstance(found.error, InvalidHandoff)
        assert (found.route.name, found.status) == ("alice-hello", None)


@pytest.mark.parametrize(
    ("url", "host", "served"),
    [
        ("http://127.0.0.1:8080/{route}", "localhost", True),
        ("http://127.0.0.1:8080/{route}", "LOCALHOST", True),
        ("http://127.0.0.1:8080/{route}", "127.0.0.1", True),
        ("http://127.0.0.1:8080/{route}", "alice-hello.apps.localhost", False),
        ("http://{route}.apps.localhost:8080", "alice-hello.apps.localhost", True),
        ("http://{route}.apps.localhost:8080", "Alice-Hello.apps.localhost", True),
        ("http://{route}.apps.localhost:8080", "alice.apps.localhost", True),
        ("http://{route}.apps.localhost:8080", "alice-jupyter.apps.localhost", False),
        ("http://{route}.apps.localhost:8080", "bob-hello.apps.localhost", False),
        ("http://{route}.apps.localhost:8080", "apps.localhost", False),
        ("http://{route}.apps.localhost:8080", "127.0.0.1", False),
    ],
)
async def test_a_certificate_is_asked_for_names_that_exist(gate: Gate, url: str, host: str, served: bool) -> None:
    gate.resources.settings.workspace_url = url
    async with gate.resources.sessions() as session:
        assert await serves(session, gate.resources, host) is served
