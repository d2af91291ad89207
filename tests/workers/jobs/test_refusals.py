"""Launches that the runtime refuses for good."""

import pytest

from app.core.i18n import LOCALES
from app.models import JobState, WorkspaceStatus
from app.resources import Resources
from app.runtime.base import EgressUnenforceable, RuntimeFault
from app.runtime.docker.policy import PolicyViolated
from app.workspaces.errors import explain
from tests.conftest import TestWorker
from tests.support.driving import accept, drive, failing, read
from tests.support.fakes import FakeRuntime


@pytest.mark.parametrize("fault", [PolicyViolated("Privileged is not allowed"), EgressUnenforceable("no nft")])
async def test_what_may_not_run_fails_at_once_and_says_why(
    worker: TestWorker, runtime: FakeRuntime, resources: Resources, fault: RuntimeFault
) -> None:
    runtime.before = failing(fault, fault)
    job = await accept(resources)
    await drive(worker, job)
    row, workspace, _ = await read(resources, job)
    assert (row.state, row.error_code, row.attempts) == (JobState.FAILED, fault.code, 1)
    assert workspace.status == WorkspaceStatus.ERROR
    assert len({explain(code, locale) for code in (fault.code, "engine_error") for locale in LOCALES}) == 4
