"""The exact edges of who gets in where: each condition of a hand-over, a name, a cookie and a note by itself."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, select, update

from app.accounts.principal import Principal
from app.core.addresses import Route, parse, safe_path
from app.core.outbox import announce
from app.gateway import cookies, wake
from app.gateway.last_activity import MAX_SECONDS, Activity, interval
from app.gateway.origin_handoff import CODE_LIFE, enter_url, exchange, make_code, purge
from app.gateway.wake import ended
from app.models import Handoff, Job, JobState, Session, Workspace, WorkspaceCookie, WorkspaceStatus, utcnow
from app.resources import Resources
from app.security.tokens import new_token
from app.workspaces.jobs.subscriptions import JobSubscriptions
from app.workspaces.states import ALIVE
from tests.api.streaming import make_job
from tests.support.clocks import Time
from tests.support.factories import SignedIn, sign_in
from tests.support.statements import counted
from tests.support.url_modes import HOST, PATH
from tests.support.waiting import SOON

STATE = new_token()


async def own(resources: Resources, owner: SignedIn, template: str = "hello") -> Workspace:
    workspace = Workspace(
        user_id=owner.user.id, template=template, status=WorkspaceStatus.RUNNING, host="127.0.0.1", port=1
    )
    async with resources.unit_of_work() as session:
        session.add(workspace)
    return workspace


async def code_for(resources: Resources, who: SignedIn, slug: str, template: str = "hello") -> str | None:
    async with resources.unit_of_work() as session:
        return await make_code(session, resources, Principal(who.user, who.session.id), slug, template, STATE)


async def spend(resources: Resources, code: str, slug: str, template: str = "hello", state: str = STATE) -> str | None:
    async with resources.unit_of_work() as session:
        return await exchange(session, resources, Route(slug, template, "", "/"), code, [state])


class TestHandOver:
    async def test_a_code_is_made_for_ones_own_workspace_alone(self, resources: Resources) -> None:
        alice, bob = await sign_in(resources), await sign_in(resources, "bob")
        for owner in (alice, bob):
            await own(resources, owner)
        assert await code_for(resources, alice, "alice") is not None
        for slug, template in (("bob", "hello"), ("alice", "jupyter"), ("nobody", "hello")):
            assert await code_for(resources, alice, slug, template) is None

    async def test_a_code_is_made_and_spent_in_two_statements_each(self, resources: Resources) -> None:
        alice = await sign_in(resources)
        await own(resources, alice)
        async with counted(resources.engine, resources.reader) as making:
            code = await code_for(resources, alice, "alice")
        assert code is not None
        async with counted(resources.engine, resources.reader) as spending:
            assert await spend(resources, code, "alice") is not None
        assert (len(making), len(spending)) == (2, 2)

    @pytest.mark.parametrize("status", WorkspaceStatus)
    async def test_a_code_is_made_for_what_runs_or_is_paused(
        self, resources: Resources, status: WorkspaceStatus
    ) -> None:
        alice = await sign_in(resources)
        workspace = await own(resources, alice)
        async with resources.unit_of_work() as session:
            await session.execute(update(Workspace).where(Workspace.id == workspace.id).values(status=status))
        assert (await code_for(resources, alice, "alice") is not None) == (status in ALIVE)

    async def test_a_code_buys_nothing_under_another_name_or_for_another_browser(self, resources: Resources) -> None:
        alice, bob = await sign_in(resources), await sign_in(resources, "bob")
        for owner in (alice, bob):
            for template in ("hello", "jupyter"):
                await own(resources, owner, template)
        code = await code_for(resources, alice, "alice")
        assert code is not None
        for other in (("bob", "hello", STATE), ("alice", "jupyter", STATE), ("alice", "hello", new_token())):
            assert await spend(resources, code, *other) is None
        assert await spend(resources, code, "alice") is not None
        assert await spend(resources, code, "alice") is None

    async def test_a_code_dies_with_the_session_it_was_made_in_and_no_other(self, resources: Resources) -> None:
        alice, bob = await sign_in(resources), await sign_in(resources, "bob")
        other = await sign_in(resources, alice.user)
        await own(resources, alice)
        code = await code_for(resources, alice, "alice")
        assert code is not None
        async with resources.unit_of_work() as session:
            (await session.get_one(Session, alice.session.id)).ended_at = utcnow()
        assert await spend(resources, code, "alice") is None
        again = await code_for(resources, other, "alice")
        assert again is not None
        async with resources.unit_of_work() as session:
            # Somebody else's session on the code: the workspace is not theirs.
            await session.execute(
                update(Handoff).where(Handoff.session_id == other.session.id).values(session_id=bob.session.id)
            )
        assert await spend(resources, again, "alice") is None
        assert await spend(resources, again, "bob") is None

    async def test_the_cookie_that_a_code_buys_is_of_its_session_and_workspace(self, resources: Resources) -> None:
        alice = await sign_in(resources)
        await sign_in(resources, alice.user)
        workspace = await own(resources, alice)
        await own(resources, alice, "jupyter")
        code = await code_for(resources, alice, "alice")
        assert code is not None
        value = await spend(resources, code, "alice")
        assert value is not None
        async with resources.sessions() as session:
            row = (await session.scalars(select(WorkspaceCookie))).one()
        assert (row.session_id, row.workspace_id) == (alice.session.id, workspace.id)
        assert row.token_hash == resources.tokens.hash("workspace", value)

    async def test_purging_takes_what_is_over_and_nothing_else(self, resources: Resources) -> None:
        people = {name: await sign_in(resources, name) for name in ("lives", "ended", "expired")}
        for name, person in people.items():
            workspace = await own(resources, person)
            async with resources.unit_of_work() as session:
                session.add(
                    WorkspaceCookie(
                        token_hash=name.encode() * 4, session_id=person.session.id, workspace_id=workspace.id
                    )
                )
            await code_for(resources, person, name)
        async with resources.unit_of_work() as session:
            (await session.get_one(Session, people["ended"].session.id)).ended_at = utcnow()
            past = utcnow() - timedelta(seconds=1)
            (await session.get_one(Session, people["expired"].session.id)).expires_at = past
            mine = Handoff.session_id == people["expired"].session.id
            await session.execute(update(Handoff).where(mine).values(expires_at=past))
            await session.flush()
            await purge(session)
        async with resources.sessions() as session:
            assert list(await session.scalars(select(WorkspaceCookie.token_hash))) == [b"lives" * 4]
            left = set(await session.scalars(select(Handoff.session_id)))
        assert left == {people["lives"].session.id, people["ended"].session.id}

    async def test_a_code_and_a_session_are_swept_away_after_their_last_instant(
        self, resources: Resources, time: Time
    ) -> None:
        alice = await sign_in(resources)
        workspace = await own(resources, alice)
        await code_for(resources, alice, "alice")
        async with resources.unit_of_work() as session:
            session.add(WorkspaceCookie(token_hash=b"c", session_id=alice.session.id, workspace_id=workspace.id))
        start, left = time.now, []
        for end in (CODE_LIFE, timedelta(seconds=resources.settings.session_seconds)):
            for late in (timedelta(0), timedelta(microseconds=1)):
                time.now = start + end + late
                async with resources.unit_of_work() as session:
                    await purge(session)
                async with resources.sessions() as session:
                    tables = (Handoff, WorkspaceCookie)
                    left.append([await session.scalar(select(func.count()).select_from(table)) for table in tables])
        assert left == [[1, 1], [0, 1], [0, 1], [0, 0]]

    async def test_a_code_is_good_for_a_minute(self, resources: Resources, time: Time) -> None:
        alice = await sign_in(resources)
        await own(resources, alice)
        codes = [await code_for(resources, alice, "alice") for _ in range(2)]
        time.now += CODE_LIFE - timedelta(microseconds=1)
        assert codes[0] is not None
        assert codes[1] is not None
        assert await spend(resources, codes[0], "alice") is not None
        time.pass_(microseconds=1)
        assert await spend(resources, codes[1], "alice") is None

    async def test_the_way_in_has_one_slash_between_its_parts(self, resources: Resources) -> None:
        alice = await sign_in(resources)
        await own(resources, alice)
        async with resources.unit_of_work() as session:
            caller = Principal(alice.user, alice.session.id)
            url = await enter_url(session, resources, caller, "alice-hello", "/lab", None)
            assert url == "http://alice-hello.localhost:8080/lab"
            assert await enter_url(session, resources, caller, "alice", "/lab", None) is None

    @pytest.mark.parametrize("path", ["/a?b=/../c", "/a#b/../c", "/a?x=/%2e%2e/", "/a?b#/../", "/..x", "/x../"])
    def test_dots_in_a_query_or_a_name_lead_nowhere(self, path: str) -> None:
        assert safe_path(path) == path

    @pytest.mark.parametrize("path", ["/a/../b?c", "/../", "/.", "/a/%2E%2e?x", "/%2e/#b", "/..?a", "/..#a"])
    def test_dots_between_slashes_lead_home(self, path: str) -> None:
        assert safe_path(path) == "/"


class TestNames:
    @pytest.mark.parametrize("host", ["alice-hello", "xx", "alice-hello.apps.example.orgx", "xalice-hello"])
    def test_a_bare_label_is_no_host_of_ours(self, host: str) -> None:
        assert parse(HOST, host, "/") is None

    def test_path_mode_reads_no_host(self) -> None:
        assert parse(PATH, "bob-hello.apps.example.org", "/alice-hello/") == Route(
            "alice", "hello", "/alice-hello", "/"
        )


class TestCookies:
    def test_one_for_a_while_and_one_until_the_browser_closes(self) -> None:
        route = Route("alice", "hello", "/alice-hello", "/")
        for seconds, life in ((None, None), (600, "Max-Age=600")):
            given = cookies.make(PATH, route, cookies.entry_name(PATH), "v", seconds=seconds).header().split("; ")
            expected = ["HttpOnly", *([life] if life else []), "Path=/alice-hello", "SameSite=lax"]
            assert given == ["spawner_entry=v", *expected]

    def test_over_tls_it_stays_there(self) -> None:
        cookie = cookies.make(HOST, Route("alice", "hello", "", "/"), cookies.grant_name(HOST), "v")
        assert (cookie.path, cookie.seconds) == ("/", None)
        assert cookie.header() == "__Host-spawner_workspace=v; HttpOnly; Path=/; SameSite=lax; Secure"


class TestActivity:
    def test_use_is_written_well_within_the_shortest_limit(self, resources: Resources) -> None:
        template = resources.catalog.default
        for pause, stop, seconds in ((0, 0, MAX_SECONDS), (40, 0, 10), (0, 20, 5), (40, 20, 5), (9000, 0, 60)):
            assert interval(template.model_copy(update={"idle_pause": pause, "idle_stop": stop})) == seconds

    async def test_a_note_is_of_one_workspace_and_never_moves_back(self, resources: Resources) -> None:
        alice = await sign_in(resources)
        template = resources.catalog.default
        used, other = await own(resources, alice), await own(resources, alice, "jupyter")
        later = utcnow() + timedelta(hours=1)
        async with resources.unit_of_work() as session:
            (await session.get_one(Workspace, other.id)).active_at = utcnow() - timedelta(hours=1)
        activity = Activity()
        assert await activity.record_activity(resources, used.id, used.generation, template)
        async with resources.unit_of_work() as session:
            idle, row = await session.get_one(Workspace, other.id), await session.get_one(Workspace, used.id)
            assert idle.active_at is not None
            assert row.active_at is not None
            assert row.active_at - idle.active_at > timedelta(minutes=59)
            row.active_at = later
        assert await Activity().record_activity(resources, used.id, used.generation, template)
        async with resources.sessions() as session:
            assert (await session.get_one(Workspace, used.id)).active_at == later
        assert not await activity.record_activity(resources, uuid4(), 0, template)


async def test_waiting_for_a_job_ends_with_it_however_the_news_comes(resources: Resources) -> None:
    alice, loop = await sign_in(resources), asyncio.get_running_loop()
    job = await make_job(resources, alice.user, JobState.RUNNING)
    watch = JobSubscriptions(resources.redis, resources.settings.instance)
    async with watch.running(resources):
        started = loop.time()
        await ended(resources, watch, job.id, started + 0.2)
        assert 0.15 < loop.time() - started < SOON
        waiting = asyncio.create_task(ended(resources, watch, job.id, loop.time() + 60))
        await asyncio.sleep(0)
        async with resources.unit_of_work() as session:
            # No news goes out: the row says it.
            await session.execute(update(Job).where(Job.id == job.id).values(state=JobState.SUCCEEDED))
        await asyncio.wait_for(waiting, SOON)


async def test_news_of_its_end_wakes_whoever_waits_for_a_job(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "LOOK_SECONDS", 30)
    alice, loop = await sign_in(resources), asyncio.get_running_loop()
    job = await make_job(resources, alice.user, JobState.RUNNING)
    watch = JobSubscriptions(resources.redis, resources.settings.instance)
    async with watch.running(resources):
        waiting = asyncio.create_task(ended(resources, watch, job.id, loop.time() + 60))
        for state in (JobState.RUNNING, JobState.SUCCEEDED):
            await asyncio.sleep(0.1)
            assert not waiting.done()
            async with resources.unit_of_work() as session:
                await session.execute(update(Job).where(Job.id == job.id).values(state=state))
                announce(session, job.id)
        await asyncio.wait_for(waiting, SOON)


async def test_waiting_ends_with_the_process(resources: Resources) -> None:
    alice, loop = await sign_in(resources), asyncio.get_running_loop()
    job = await make_job(resources, alice.user, JobState.RUNNING)
    watch = JobSubscriptions(resources.redis, resources.settings.instance)
    async with watch.running(resources):
        watch.close()
        await asyncio.wait_for(ended(resources, watch, job.id, loop.time() + 60), SOON)
