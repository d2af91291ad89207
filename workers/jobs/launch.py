"""Launches a workspace: image, container, probe."""

import contextlib
from collections.abc import Iterator
from functools import partial

import structlog

from app.catalog.templates import Template
from app.core.addresses import route_of
from app.models import JobKind, JobStep
from app.runtime.base import (
    ContainerExited,
    Endpoint,
    Report,
    RunState,
    RuntimeFault,
    Status,
    Superseded,
)
from app.runtime.spec import WorkspaceSpec
from app.security.redaction import Redactor
from app.workspaces import observe
from app.workspaces.container_spec import build_spec, probe_path
from app.workspaces.jobs import leases, outcomes
from app.workspaces.jobs.leases import Claim, LeaseLost
from app.workspaces.jobs.outcomes import Line
from app.workspaces.networks import NoSubnet
from workers.context import WorkerContext
from workers.jobs.checkpoints import Checkpoint, reached
from workers.jobs.fail import fail_job
from workers.jobs.probe import ProbeFailed, ProbeTimeout, wait_ready
from workers.jobs.progress import timeline
from workers.jobs.start import start_container

log = structlog.get_logger(__name__)

TAIL_LINES = 200


async def launch(context: WorkerContext, held: Claim) -> None:
    """Launch the workspace and write the outcome. Raises `RuntimeFault` for the caller to handle."""
    template = context.resources.catalog.get(held.workspace.template)
    if template is None:
        await fail_job(context, held, "template_gone", f"the catalogue has no type {held.workspace.template!r}")
        return
    while True:
        try:
            endpoint, lines = await _run(context, held, template)
        except Superseded as newer:
            await _adopt_revision(context, held, newer.revision)
            continue
        except ProbeFailed as failed:
            await _give_up(context, held, failed)
        except ContainerExited:
            await _give_up(context, held)
        except NoSubnet:
            await fail_job(
                context, held, "no_subnet", f"no free subnet found in {context.resources.settings.network_range}"
            )
        else:
            async with context.resources.unit_of_work() as session:
                await outcomes.started(session, held, endpoint, lines)
        return


async def _run(context: WorkerContext, held: Claim, template: Template) -> tuple[Endpoint, list[Line]]:
    """Run and probe the container; writes the timeline concurrently. Returns its last lines, if unwritten."""
    async with timeline(context.resources, held) as report:
        endpoint = await _ensure_running(context, held, template, report)
        await reached(Checkpoint.RUNNING, held)
        if report.touched:
            report.report_step(JobStep.PROBING)
        path = probe_path(context.resources.settings, template, route_of(held.slug, template.key))
        seconds = template.probe.deadline_seconds
        await wait_ready(
            context.ask, context.runtime, held.container, endpoint, path, port=template.port, seconds=seconds
        )
        await reached(Checkpoint.PROBED, held)
    return endpoint, report.unwritten


async def _ensure_running(context: WorkerContext, held: Claim, template: Template, report: Report) -> Endpoint:
    """Ensure the container. Raises `NoSubnet` if the claim found no network."""
    if held.network is None:
        raise NoSubnet

    def spec_on(index: int) -> WorkspaceSpec:
        return build_spec(
            context.resources.settings,
            template,
            held.workspace,
            held.slug,
            index=index,
            volume=held.volume,
            installation=held.installation,
        )

    return await start_container(
        context,
        template,
        spec_on,
        report,
        index=held.network,
        holder={"workspace_id": held.workspace.id},
        pulled=partial(reached, Checkpoint.PULLED, held),
    )


async def _adopt_revision(context: WorkerContext, held: Claim, revision: int) -> None:
    """Adopt the engine's later revision, which a restored backup does not know."""
    async with context.resources.unit_of_work() as session:
        await observe.adopt_revision(session, held, revision)
    held.workspace.revision = revision + (held.kind == JobKind.RESTART)


async def _give_up(context: WorkerContext, held: Claim, failed: ProbeFailed | None = None) -> None:
    """Handle an exited container or `failed` probe: record reason and last lines, remove the container, fail the job.

    If removal fails, the reconciler stops the container, or the next launch replaces it.
    """
    async with context.resources.unit_of_work() as session:
        if not await leases.renew(session, context.resources, held):
            raise LeaseLost
    status, tail = Status(RunState.RUNNING), None
    with _logged("container_not_examined"):
        status = await context.runtime.status(held.container)
        lines = [line async for line in context.runtime.logs(held.container, tail=TAIL_LINES)]
        tail = Redactor(context.resources.settings).redact("\n".join(lines))
    with _logged("container_not_removed"):
        await context.runtime.ensure_absent(held.container, held.workspace.engine_id)
    code, detail = (failed.code, failed.detail) if failed is not None else (ProbeTimeout.code, None)
    if status.state is not RunState.RUNNING:
        code = "out_of_memory" if status.out_of_memory else "exited"
        detail = f"exit code {status.exit_code}"
    text = detail or "the probe was not answered in time"
    await fail_job(context, held, code, text, detail=detail, exit_code=status.exit_code, log_tail=tail)


@contextlib.contextmanager
def _logged(event: str) -> Iterator[None]:
    """Log an engine fault and continue."""
    try:
        yield
    except RuntimeFault as fault:
        log.warning(event, code=fault.code, error=str(fault))
