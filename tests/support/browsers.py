"""What the tests of the pages share: browsers, rows, and a reader of HTML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from html.parser import HTMLParser

import httpx
from fastapi import FastAPI

from app.models import DesiredState, Job, JobEvent, JobKind, JobState, JobStep, User, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from tests.support.factories import SignedIn


def make_browser(app: FastAPI, who: SignedIn | None = None, *, locale: str = "en") -> httpx.AsyncClient:
    """A client that asks as browsers do: for pages, from the pages' own origin."""
    origin = app.state.settings.public_url
    jar = httpx.Cookies()
    for name, value in (who.cookies if who else {}).items():
        # The form in which the jar keeps what the host `localhost` sets, so that the app can delete it.
        jar.set(name, value, domain="localhost.local", path="/")
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        base_url=origin,
        cookies=jar,
        headers={
            "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
            "Accept-Language": locale,
            "Origin": origin,
            "Sec-Fetch-Site": "same-origin",
        },
    )


def _make_job(workspace: Workspace, step: JobStep, changes: Mapping[str, object]) -> Job:
    """A job of the workspace, a launch unless `changes` says otherwise."""
    values = {
        "kind": JobKind.LAUNCH,
        "previous_status": WorkspaceStatus.NOT_CREATED,
        "state": JobState.QUEUED if step == JobStep.QUEUED else JobState.RUNNING,
        "admitted_at": utcnow(),
        "progress": 34,
        "error_code": workspace.error_code,
        "exit_code": workspace.exit_code,
        "deadline": utcnow() + timedelta(minutes=5),
    }
    return Job(
        workspace_id=workspace.id,
        user_id=workspace.user_id,
        template=workspace.template,
        generation=1,
        step=step,
        **{**values, **changes},
    )


async def make_workspace(
    resources: Resources,
    user: User,
    status: WorkspaceStatus,
    *,
    template: str = "hello",
    error_code: str | None = None,
    exit_code: int | None = None,
    step: JobStep | None = None,
    detail: str | None = None,
    job: Mapping[str, object] | None = None,
    **row: object,
) -> Job | None:
    """A workspace in a state; `step` gives it a job, which is returned, and which lives unless `job` says otherwise."""
    async with resources.unit_of_work() as session:
        workspace = Workspace(
            user_id=user.id,
            template=template,
            generation=1,
            desired_state=DesiredState.RUNNING,
            status=status,
            host="127.0.0.1",
            port=1,
            error_code=error_code,
            exit_code=exit_code,
            **row,
        )
        session.add(workspace)
        await session.flush()
        if step is None:
            return None
        made = _make_job(workspace, step, job or {})
        session.add(made)
        await session.flush()
        session.add(JobEvent(job_id=made.id, step=step, detail=detail))
        return made


@dataclass
class Page(HTMLParser):
    """What a test asks of a page: its elements with their attributes, and its visible words."""

    html: str
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: str | None = None
        self.feed(self.html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = None

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if text:
            (self.inline if self._open in ("script", "style") else self.words).append(text)

    def find(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        """The attributes of each element of that tag that has all of these."""
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and all(attributes.get(key.replace("_", "-")) == value for key, value in wanted.items())
        ]
