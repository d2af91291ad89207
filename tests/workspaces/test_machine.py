"""The state machine, driven at random: whatever is asked, whoever dies, rows and engine agree in the end."""

import contextlib
import os
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select, text

from app.core.errors import NotFound
from app.core.settings.model import Settings
from app.models import LIVE_STATES, Job, JobKind, JobState, User, Workspace, WorkspaceStatus
from app.runtime.base import RunState, RuntimeFault
from app.workspaces import service
from app.workspaces.container_spec import container_name
from app.workspaces.errors import NotCancellable, Refused
from app.workspaces.states import ALIVE, DESIRED_AT, TRANSITIONS
from deploy.stack.services import Services
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime
from tests.support.stepped import Answer, Call, SteppedWorker, finish, settle
from tests.support.world import World
from workers.context import WorkerContext
from workers.jobs.drive import drive_workspace
from workers.loops.admit import admit
from workers.loops.engine_events import reconcile_workspace
from workers.loops.reconcile import reconcile_engine, reconcile_rows

# More runs than `make test` has time for, and others each time.
EXAMPLES = int(os.environ.get("SPAWNER_MACHINE_EXAMPLES", "0"))
PLACES = [("alice", "hello"), ("alice", "jupyter"), ("bob", "hello")]
places = st.sampled_from(PLACES)
which = st.integers(0, 1000)
answers = st.sampled_from([Answer.DONE] * 6 + [Answer.LATE, Answer.LATE, Answer.REFUSED, Answer.LOST, Answer.BROKEN])
asked_for = st.sampled_from([JobKind.LAUNCH, JobKind.LAUNCH, JobKind.RESTART, JobKind.STOP, JobKind.DELETE])
WORKERS = 4
S = WorkspaceStatus


@pytest.fixture
def world(settings: Settings, services: Services) -> Iterator[World]:
    made = World(settings, services.database_owner_url)
    made.open()
    try:
        yield made
    finally:
        made.close()


class Machine(RuleBasedStateMachine):
    """Two users, three workspaces, a few workers; each rule is one thing that may happen next."""

    world: World

    @initialize()
    def start(self) -> None:
        self.run = self.world.run
        self.resources = self.world.resources
        self.engine = FakeRuntime(1)
        self.workers: list[SteppedWorker] = []
        self.late: list[Call] = []
        self.wishes: dict[UUID, JobKind] = {}
        self.run(self.world.clear())
        self.users: dict[str, User] = {}
        for slug in ("alice", "bob"):
            self.users[slug] = self.run(make_user(self.resources, slug))
        self.platform = SteppedWorker(self.resources, self.engine)
        self.plain = replace(self.platform.context, runtime=self.engine)
        self.run(reconcile_engine(self.plain))
        for place in PLACES:
            self.request(place, JobKind.LAUNCH, asked=True)
        self.admit()
        for _ in PLACES:
            self.take(0, live=True)

    # What users and the platform ask for.

    @rule(place=places, kind=asked_for, asked=st.sampled_from([True, True, True, False]))
    def request(self, place: tuple[str, str], kind: JobKind, asked: bool) -> None:
        async def request() -> None:
            async with self.resources.unit_of_work() as session:
                own = kind == JobKind.LAUNCH and not asked
                accepted = await service.request(
                    session, self.resources, self.users[place[0]], place[1], kind, asked=not own
                )
                self.wishes[accepted.workspace.id] = kind

        try:
            self.run(request())
        except (NotFound, Refused):
            return
        self.rest()

    @rule(place=places)
    def pause_idle(self, place: tuple[str, str]) -> None:
        async def pause() -> None:
            async with self.resources.unit_of_work() as session:
                mine = service.owned_workspaces(self.users[place[0]].id).where(Workspace.template == place[1])
                row = await session.scalar(mine.with_for_update(key_share=True))
                if row is not None and row.status is S.RUNNING:
                    self.wishes.pop(row.id, None)
                    await service.begin(session, self.resources, row, JobKind.PAUSE)

        self.run(pause())
        self.rest()

    @rule()
    def admit(self) -> None:
        self.run(admit(self.plain))
        self.rest()

    @rule(number=which)
    def cancel(self, number: int) -> None:
        job = self.pick(number)
        if job is None:
            return

        async def cancel() -> None:
            async with self.resources.unit_of_work() as session:
                user = await session.get_one(User, job.user_id)
                await service.cancel(session, self.resources, user, job.id)

        try:
            self.run(cancel())
        except NotCancellable:
            return
        self.wishes.pop(job.workspace_id, None)
        self.rest()

    # Workers: messages come twice and in any order, engines take their time, processes die.

    @precondition(lambda self: len(self.workers) < WORKERS)
    @rule(number=which, live=st.sampled_from([True, True, True, False]))
    def take(self, number: int, live: bool) -> None:
        job = self.pick(number, live=live)
        if job is not None:
            self.begin(lambda context: drive_workspace({"worker": context, "job_id": "message"}, str(job.id)))

    @precondition(lambda self: self.workers)
    @rule(number=which, answer=answers)
    def step(self, number: int, answer: Answer) -> None:
        if answer is Answer.BROKEN:
            self.wishes.clear()
        self.workers[number % len(self.workers)].go_on(answer)
        self.rest()

    @precondition(lambda self: self.workers)
    @rule(number=which)
    def step_twice(self, number: int) -> None:
        worker = self.workers[number % len(self.workers)]
        for _ in range(2):
            worker.go_on(Answer.DONE)
            self.rest()

    @precondition(lambda self: self.workers)
    @rule(number=which, arrives=st.booleans())
    def kill(self, number: int, arrives: bool) -> None:
        worker = self.workers.pop(number % len(self.workers))
        call = self.run(worker.die())
        if call is not None and arrives:
            self.late.append(call)
        self.rest()

    @precondition(lambda self: self.late)
    @rule()
    def arrive_late(self) -> None:
        self.wishes.clear()
        self.run(finish(self.late.pop(0)))

    # Time.

    @rule(late=st.sampled_from([False, False, True]))
    def renew(self, late: bool) -> None:
        """The workers renew their leases, or were not scheduled until those had run out."""
        self.jump(20) if late else self.wait(4)
        for worker in self.workers:
            worker.context.revocations.notify_all()
        self.rest()

    @rule(seconds=st.sampled_from([20, 40, 400]))
    def jump(self, seconds: int) -> None:
        self.wishes.clear()
        self.wait(seconds)

    # Hands at the engine, and those who watch it.

    @precondition(lambda self: self.engine.containers)
    @rule(number=which, deed=st.sampled_from(["die", "end", "vanish", "pause", "run"]))
    def meddle(self, number: int, deed: str) -> None:
        name = sorted(self.engine.containers)[number % len(self.engine.containers)]
        self.wishes.clear()
        container = self.engine.state[name]
        if deed == "vanish":
            self.engine.vanish(name)
        elif deed in ("die", "end"):
            self.engine.end(name, int(deed == "die"))
        elif deed == "pause" and container.state is RunState.RUNNING:
            container.state = RunState.PAUSED
        elif deed == "run":
            container.state, container.exit_code = RunState.RUNNING, None

    @precondition(lambda self: len(self.workers) < WORKERS)
    @rule(number=which)
    def look(self, number: int) -> None:
        rows = self.run(self.rows())
        if rows:
            workspace_id = rows[number % len(rows)].id

            async def watch(context: WorkerContext) -> None:
                with contextlib.suppress(RuntimeFault):
                    await reconcile_workspace(context, workspace_id)

            self.begin(watch)

    @rule()
    def reconcile(self) -> None:
        self.run(reconcile_rows(self.plain))
        self.run(reconcile_engine(self.plain))
        self.rest()

    # What always holds, and what holds once all is quiet.

    @invariant()
    def moves_are_legal(self) -> None:
        async def noted() -> list[tuple[str, str, bool]]:
            async with self.resources.reads() as session:
                rows = await session.execute(text("SELECT old, new, fell FROM noted ORDER BY id"))
                return [(old, new, fell) for old, new, fell in rows]

        if not hasattr(self, "resources"):
            return
        for old, new, fell in self.run(noted()):
            assert not fell, f"a generation shrank, or a job that had ended changed: {old} -> {new}"
            assert old == new or S(new) in TRANSITIONS[S(old)], f"{old} -> {new}"

    @invariant()
    def running_jobs_can_be_taken_over(self) -> None:
        if hasattr(self, "resources"):
            running = [job for job in self.run(self.jobs(live=True)) if job.state == JobState.RUNNING]
            assert all(job.lease_until is not None for job in running), self.run(self.history())

    @invariant()
    def one_container_a_workspace(self) -> None:
        if hasattr(self, "engine"):
            owners = [spec.workspace_id for spec in self.engine.containers.values()]
            assert len(owners) == len(set(owners))

    def teardown(self) -> None:
        if not hasattr(self, "plain"):
            return
        try:
            self.come_to_rest()
            self.run(self.agree())
        finally:
            for worker in self.workers:
                self.run(worker.die())

    def come_to_rest(self) -> None:
        """No more faults: dead workers' calls arrive, the others go on, and the platform works as it does."""
        for call in self.late:
            self.wishes.clear()
            self.run(finish(call))
        for _ in range(60):
            if not self.workers:
                break
            for worker in self.workers:
                worker.go_on(Answer.DONE)
            self.rest()
        assert not self.workers, "a worker never ends"
        for _ in range(40):
            self.world.ahead += timedelta(seconds=16)
            self.run(reconcile_rows(self.plain))
            self.run(admit(self.plain))
            for job in self.run(self.jobs(live=True)):
                self.run(drive_workspace({"worker": self.plain, "job_id": "message"}, str(job.id)))
            self.run(reconcile_engine(self.plain))
            if not self.run(self.jobs(live=True)):
                return
        raise AssertionError(f"jobs never end: {self.run(self.history())}")

    async def agree(self) -> None:
        history = await self.history()
        owned = {spec.workspace_id: spec for spec in self.engine.containers.values()}
        for row in await self.rows():
            slug = next(user.slug for user in self.users.values() if user.id == row.user_id)
            status = await self.engine.status(container_name(self.world.settings, slug, row.template))
            told = (
                f"{row.template} of {slug}: {row.status}, to be {row.desired_state}; engine: {status.state}\n{history}"
            )
            assert status.state in SEEN[row.status], told
            assert row.status is S.ERROR or row.desired_state == DESIRED_AT[row.status], told
            assert (row.reserved_memory is not None) == (row.status in ALIVE), f"{told}; room {row.reserved_memory}"
            if row.status in ALIVE:
                assert status.endpoint is not None
                assert (row.host, row.port) == (status.endpoint.host, status.endpoint.port), told
                assert owned[row.id].revision == row.revision, told
            wish = self.wishes.get(row.id)
            assert wish is None or row.status in MEANT[wish], f"{told}; last asked for: {wish}"

    # How rules reach things.

    def begin(self, work: Callable[[WorkerContext], Coroutine[Any, Any, object]]) -> None:
        worker = SteppedWorker(self.resources, self.engine)

        async def begin() -> None:
            worker.begin(work)

        self.run(begin())
        self.workers.append(worker)
        self.rest()

    def wait(self, seconds: int) -> None:
        self.world.ahead += timedelta(seconds=seconds)

    def rest(self) -> None:
        self.run(settle(self.workers))
        for worker in self.workers:
            if worker.task.done() and not worker.task.cancelled() and (error := worker.task.exception()):
                raise error
        self.workers = [worker for worker in self.workers if not worker.task.done()]

    def pick(self, number: int, *, live: bool = True) -> Job | None:
        jobs = self.run(self.jobs(live=live))
        return jobs[number % len(jobs)] if jobs else None

    async def history(self) -> str:
        return "\n".join(
            f"{job.kind} of {job.template} {job.workspace_id}: {job.state} {job.error_code}, "
            f"was {job.previous_status}, contacted {job.engine_contacted}, "
            f"attempts {job.attempts}, lease until {job.lease_until}, finished {job.finished_at}"
            for job in await self.jobs(live=False)
        )

    async def jobs(self, *, live: bool) -> list[Job]:
        query = select(Job).order_by(Job.created_at, Job.id)
        async with self.resources.reads() as session:
            return list(await session.scalars(query.where(Job.state.in_(LIVE_STATES)) if live else query))

    async def rows(self) -> list[Workspace]:
        async with self.resources.reads() as session:
            return list(await session.scalars(select(Workspace).order_by(Workspace.created_at)))


GONE = {RunState.ABSENT, RunState.EXITED, RunState.CREATED}
SEEN = {
    S.NOT_CREATED: {RunState.ABSENT},
    S.RUNNING: {RunState.RUNNING},
    S.PAUSED: {RunState.PAUSED},
    S.STOPPED: GONE,
    S.ERROR: GONE,
}
MEANT = {
    JobKind.LAUNCH: {S.RUNNING},
    JobKind.RESTART: {S.RUNNING},
    JobKind.STOP: {S.STOPPED, S.NOT_CREATED},
    JobKind.DELETE: {S.NOT_CREATED},
}


def test_rows_and_engine_agree_in_the_end_whatever_happens(world: World) -> None:
    machine = type("Driven", (Machine,), {"world": world})
    run_state_machine_as_test(
        machine,
        settings=profile(
            max_examples=EXAMPLES or 20,
            stateful_step_count=30,
            derandomize=not EXAMPLES,
            deadline=None,
            database=None,
            # To make a failing run shorter takes minutes: it is shown as it was.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
