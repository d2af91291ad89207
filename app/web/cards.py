"""A template and the caller's workspace of it, as the pages show them."""

import re
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

from app.auth.service import Caller
from app.catalog.images import ImageState, image_states
from app.catalog.service import Template
from app.errors import NotFound
from app.gateway.names import route_of
from app.i18n import Locale
from app.models import JobStep, WorkspaceStatus
from app.resources import Resources
from app.web import texts
from app.workspaces.polling import poll_job
from app.workspaces.schemas import JobOut, WorkspaceOut
from app.workspaces.views import list_tagged_workspaces
from app.workspaces.watch import JobWatch

BYTES = re.compile(r"([0-9.]+) of ([0-9.]+) MB")
TONES = {WorkspaceStatus.RUNNING: "good", WorkspaceStatus.ERROR: "bad"}
IDLE = frozenset({WorkspaceStatus.NOT_CREATED, WorkspaceStatus.PAUSED, WorkspaceStatus.STOPPED})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a live job is, in words. `bytes` is what a pull has fetched of what there is, in megabytes."""

    step: str
    percent: int
    position: int | None
    usual_seconds: float | None
    bytes: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Card:
    """What one card shows. `said` names what its live region told last; `poll` is the query to follow it with."""

    type: str
    name: str
    description: str
    route: str
    status: WorkspaceStatus
    status_text: str
    error: str | None
    image: ImageState | None
    memory: str
    cpus: float
    keeps_files: bool
    progress: Progress | None
    said: str
    poll: str | None

    @property
    def tone(self) -> str:
        """The colour of the state, which also stands there as text."""
        return TONES.get(self.status, "idle" if self.status in IDLE else "busy")

    @property
    def running(self) -> bool:
        """Whether it can be opened."""
        return self.status == WorkspaceStatus.RUNNING


async def list_cards(resources: Resources, caller: Caller, locale: Locale) -> list[Card]:
    """One card for each template, in the catalogue's order."""
    async with resources.unit_of_work() as session:
        entries = await list_tagged_workspaces(session, resources, caller.user, locale)
    templates = resources.catalog.templates
    images = await image_states(resources.redis, [template.image for template in templates])
    cards = []
    for (entry, seen), template in zip(entries, templates, strict=True):
        route = route_of(caller.user.slug, template.key)
        cards.append(_card(entry, template, route, images.get(template.image), seen, locale))
    return cards


async def find_card(resources: Resources, caller: Caller, locale: Locale, type: str) -> Card:
    """The card of one template. Raises `NotFound`."""
    for card in await list_cards(resources, caller, locale):
        if card.type == type:
            return card
    raise NotFound


@dataclass(frozen=True, slots=True)
class Seen:
    """What a page knows already: the job that it follows, that job's ETag, and what it has said."""

    job: UUID | None = None
    etag: str | None = None
    said: str = ""
    wait: float = 0


async def wait_for_news(resources: Resources, watch: JobWatch, caller: Caller, locale: Locale, seen: Seen) -> None:
    """Return once the job differs from what was seen, has ended, or the time is over. Raises `NotFound`."""
    if seen.job is not None and seen.etag:
        await poll_job(resources, watch, caller.user.id, seen.job, locale, seen=seen.etag, wait=seen.wait)


def _card(
    entry: WorkspaceOut, template: Template, route: str, image: ImageState | None, etag: str | None, locale: Locale
) -> Card:
    status = WorkspaceStatus(entry.status)
    said = f"{status}.{entry.job.step}" if entry.job else str(status)
    return Card(
        type=entry.type,
        name=entry.display_name,
        description=entry.description,
        route=route,
        status=status,
        status_text=texts.STATUSES[status].say(locale),
        error=entry.error.message if entry.error and entry.job is None else None,
        image=image if status != WorkspaceStatus.RUNNING else None,
        memory=_memory(template.limits.memory, locale),
        cpus=template.limits.cpus,
        keeps_files=template.volume is not None,
        progress=_progress(entry.job, locale) if entry.job else None,
        said=said,
        poll=urlencode({"job": entry.job.id, "seen": etag, "said": said}) if entry.job and etag else None,
    )


def _progress(job: JobOut, locale: Locale) -> Progress:
    detail = (job.timeline[-1].detail if job.timeline else None) or ""
    match = BYTES.fullmatch(detail) if job.step == JobStep.PULLING else None
    return Progress(
        step=texts.STEPS[job.step].say(locale),
        percent=job.progress,
        position=job.position,
        usual_seconds=job.eta_seconds,
        bytes=(float(match[1]), float(match[2])) if match else None,
    )


def _memory(amount: int, locale: Locale) -> str:
    megabytes = amount / (1 << 20)
    if megabytes >= 1024:
        return f"{texts.number(megabytes / 1024, locale)} GB"
    return f"{texts.number(megabytes, locale)} MB"
