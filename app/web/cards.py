"""Cards: a template and the caller's workspace of it."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.schemas import ShareOut
from app.access.shares import list_all_shares
from app.accounts.errors import TooManyChanges
from app.accounts.principal import Principal
from app.catalog.images import ImageState, image_states
from app.catalog.templates import Template
from app.core.addresses import route_of
from app.core.errors import AppError, NotFound
from app.core.i18n import Locale
from app.models import JobStep, WorkspaceStatus, utcnow
from app.resources import Resources
from app.web.messages import pages
from app.web.messages.exits import troubles
from app.workspaces.errors import NotCancellable, NotExtendable, Refused, UntilOutOfRange
from app.workspaces.idle import BUSY_CPU
from app.workspaces.jobs.follow import poll_job
from app.workspaces.jobs.subscriptions import JobSubscriptions
from app.workspaces.schemas import IdleOut, JobOut, RestOut, WorkspaceOut
from app.workspaces.states import ALIVE, STARTING
from app.workspaces.views import find_entries

BYTES = re.compile(r"([0-9.]+) of ([0-9.]+) MB")
# Choices of the form, in hours.
KEEPS = (1, 4, 12, 24, 168)
TONES = {WorkspaceStatus.RUNNING: "good", WorkspaceStatus.ERROR: "bad"}
IDLE = frozenset({WorkspaceStatus.NOT_CREATED, WorkspaceStatus.PAUSED, WorkspaceStatus.STOPPED})
# States with something to replace or delete.
THERE = frozenset({WorkspaceStatus.RUNNING, WorkspaceStatus.PAUSED, WorkspaceStatus.STOPPED, WorkspaceStatus.ERROR})


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a live job, in words.

    `bytes` are a pull's fetched and total megabytes. `note` says what the job waits for, or why the platform started
    it. `cancel` is the job's id if it may be cancelled.
    """

    step: str
    starts: bool
    percent: int
    position: int | None
    usual_seconds: float | None
    bytes: tuple[float, float] | None
    note: str | None
    cancel: UUID | None


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning that the workspace stops or pauses soon; `extendable` if using it would delay that."""

    text: str
    extendable: bool


@dataclass(frozen=True, slots=True)
class Card:
    """The content of a card.

    `said` is the live region's last message; `poll` is the query that follows the card. `reason`: why the platform
    paused or stopped the workspace. `troubles`: recent exits and kills. `refused`: why the last request failed.
    `rests`: the platform will pause or stop it some time; `warning`: soon. `keeps`: the hours for which the owner may
    keep it awake, if it would otherwise go idle.
    """

    type: str
    name: str
    description: str
    route: str
    status: WorkspaceStatus
    status_text: str
    error: str | None
    exit_code: int | None
    reason: str | None
    rests: bool
    keeps: tuple[int, ...]
    kept_until: datetime | None
    warning: Notice | None
    outdated: bool
    image: ImageState | None
    memory: str
    cpus: float
    keeps_files: bool
    kept_days: int
    progress: Progress | None
    said: str
    poll: str | None
    people: int
    admins: list[ShareOut]
    troubles: list[str] = field(default_factory=list)
    refused: str | None = None

    @property
    def tone(self) -> str:
        """The state's colour; the state is also shown as text."""
        return TONES.get(self.status, "idle" if self.status in IDLE else "busy")

    @property
    def alive(self) -> bool:
        """Whether it can be opened: the gateway resumes a paused one."""
        return self.status in ALIVE

    @property
    def busy_percent(self) -> int:
        """The percentage of a core above which CPU counts as use."""
        return round(100 * BUSY_CPU)

    @property
    def paused(self) -> bool:
        """Whether it is paused."""
        return self.status == WorkspaceStatus.PAUSED

    @property
    def stopped(self) -> bool:
        """Whether it has run before and can be started again."""
        return self.status == WorkspaceStatus.STOPPED

    @property
    def there(self) -> bool:
        """Whether it may be replaced or deleted now."""
        return self.status in THERE and self.progress is None


async def list_cards(resources: Resources, caller: Principal, locale: Locale) -> list[Card]:
    """Return a card per template, in the catalogue's order."""
    return await _find_cards(resources, caller, locale, resources.catalog.templates)


async def find_card(resources: Resources, caller: Principal, locale: Locale, type: str) -> Card:
    """Return a template's card. Raises `NotFound`."""
    template = resources.catalog.get(type)
    if template is None:
        raise NotFound
    (card,) = await _find_cards(resources, caller, locale, [template])
    return card


async def _find_cards(
    resources: Resources, caller: Principal, locale: Locale, templates: Sequence[Template]
) -> list[Card]:
    entries = await find_entries(resources, caller.user, templates, locale)
    async with resources.reads() as session:
        shares = await list_all_shares(session, caller.user)
    images = await image_states(
        resources.redis, resources.settings.instance, [template.image for template in templates]
    )
    days = resources.settings.volume_retention_days
    return [
        _card(entry, template, caller, images, seen, days, shares[entry.type], locale)
        for (entry, seen), template in zip(entries, templates, strict=True)
    ]


async def attempt(resources: Resources, change: Callable[[AsyncSession], Awaitable[object]]) -> AppError | None:
    """Make one change in its own transaction. Returns errors that the card can show, raises others."""
    try:
        async with resources.unit_of_work() as session:
            await change(session)
    except (Refused, NotCancellable, NotExtendable, UntilOutOfRange, TooManyChanges) as refusal:
        return refusal
    return None


@dataclass(frozen=True, slots=True)
class Seen:
    """What the page has: the followed job, its ETag, and the last message."""

    job: UUID | None = None
    etag: str | None = None
    said: str = ""
    wait: float = 0


async def wait_for_news(
    resources: Resources, watch: JobSubscriptions, caller: Principal, locale: Locale, seen: Seen
) -> None:
    """Return once the job differs from what the page has, ends, or the wait times out. Raises `NotFound`."""
    if seen.job is not None and seen.etag:
        wait = 0 if caller.fresh else seen.wait
        await poll_job(resources, watch, caller, seen.job, locale, seen=seen.etag, wait=wait)


def _card(
    entry: WorkspaceOut,
    template: Template,
    caller: Principal,
    images: Mapping[str, ImageState],
    etag: str | None,
    days: int,
    shares: list[ShareOut],
    locale: Locale,
) -> Card:
    status, job = WorkspaceStatus(entry.status), entry.job
    failure = entry.error if job is None else None
    idle = entry.idle if job is None else None
    said = ".".join([status, *([job.step, job.waits_for or ""] if job else [(idle and idle.warning) or ""])])
    return Card(
        type=entry.type,
        name=entry.display_name,
        description=entry.description,
        route=route_of(caller.user.slug, template.key),
        status=status,
        status_text=pages.STATUSES[status].format(locale),
        error=failure.message if failure else None,
        exit_code=failure.exit_code if failure else None,
        reason=entry.rest.message if entry.rest and job is None else None,
        rests=idle is not None,
        keeps=KEEPS if idle and status != WorkspaceStatus.PAUSED and (idle.pauses_at or idle.stops_at) else (),
        kept_until=idle.kept_until if idle else None,
        warning=_warning(idle, locale) if idle else None,
        outdated=entry.outdated and job is None,
        image=images.get(template.image) if status != WorkspaceStatus.RUNNING else None,
        memory=_memory(template.limits.memory, locale),
        cpus=template.limits.cpus,
        keeps_files=template.volume is not None,
        kept_days=days,
        progress=_progress(job, entry.rest, locale) if job else None,
        said=said,
        poll=urlencode({"job": job.id, "seen": etag, "said": said}) if job and etag else None,
        troubles=troubles(entry, utcnow(), locale) if job is None else [],
        people=len({share.email for share in shares if share.how != "admin"}),
        admins=[share for share in shares if share.how == "admin"],
    )


def _progress(job: JobOut, rest: RestOut | None, locale: Locale) -> Progress:
    detail = (job.timeline[-1].detail if job.timeline else None) or ""
    match = BYTES.fullmatch(detail) if job.step == JobStep.PULLING else None
    return Progress(
        step=pages.STEPS[job.step].format(locale),
        starts=job.kind in STARTING,
        percent=job.progress,
        position=job.position,
        usual_seconds=job.eta_seconds,
        bytes=(float(match[1]), float(match[2])) if match else None,
        note=_note(job, rest, locale),
        cancel=job.id if job.kind in STARTING else None,
    )


def _note(job: JobOut, rest: RestOut | None, locale: Locale) -> str | None:
    """Return what a job waits for; else why the platform started it."""
    if job.waits_for is not None:
        return pages.WAITS[job.waits_for].format(locale)
    if not job.platform:
        return None
    return rest.message if rest else pages.BEGUN.get(job.kind, pages.BROUGHT_TO_REST).format(locale)


def _warning(idle: IdleOut, locale: Locale) -> Notice | None:
    """Return the next idle action and its time."""
    times = {"pause": idle.pauses_at, "stop": idle.stops_at, "end": idle.ends_at}
    at = times[idle.warning] if idle.warning else None
    if idle.warning is None or at is None:
        return None
    when = pages.soon((at - utcnow()).total_seconds(), locale)
    return Notice(pages.AHEAD[idle.warning].format(locale, when=when), extendable=idle.warning != "end")


def _memory(amount: int, locale: Locale) -> str:
    megabytes = amount / (1 << 20)
    if megabytes >= 1024:
        return f"{pages.number(megabytes / 1024, locale)} GB"
    return f"{pages.number(megabytes, locale)} MB"
