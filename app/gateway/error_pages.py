"""The gateway's pages at a workspace's origin: self-contained, with inline style and script permitted by hash."""

import hashlib
from base64 import b64encode
from pathlib import Path
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.core.addresses import address_of
from app.core.i18n import Locale, Text
from app.core.settings.model import Settings
from app.gateway.decide import MOVING, ErrorPage
from app.gateway.errors import (
    CookiesTooLarge,
    InvalidHandoff,
    NotEntered,
    OpenInTab,
    SentFromElsewhere,
    SharedNotRunning,
    WorkspaceNotRunning,
)
from app.models import WorkspaceStatus
from app.workspaces.states import STARTING_STATES

_FOLDER = Path(__file__).parent
_STYLE, _SCRIPT = ((_FOLDER / name).read_text("utf-8") for name in ("page.css", "page.js"))
_HASHES = [f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in (_STYLE, _SCRIPT)]
POLICY = (
    f"default-src 'none'; style-src {_HASHES[0]}; script-src {_HASHES[1]}; base-uri 'none'; form-action 'none'; "
    "frame-ancestors "
)

_templates = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)

STATES: dict[WorkspaceStatus, Text] = {
    WorkspaceStatus.NOT_CREATED: Text("It has not been launched yet.", "Er wurde noch nicht gestartet."),
    WorkspaceStatus.QUEUED: Text(
        "It waits for its turn, or for capacity on the server.",
        "Er wartet, bis er an der Reihe oder auf dem Server Platz ist.",
    ),
    WorkspaceStatus.PULLING: Text("Its image is being fetched.", "Sein Image wird gerade geladen."),
    WorkspaceStatus.CREATING: Text("It is being created.", "Er wird gerade angelegt."),
    WorkspaceStatus.STARTING: Text("It is starting.", "Er startet gerade."),
    WorkspaceStatus.PROBING: Text("It has started and is getting ready.", "Er ist gestartet und gleich bereit."),
    WorkspaceStatus.RUNNING: Text("It has just become ready.", "Er ist gerade bereit geworden."),
    WorkspaceStatus.PAUSED: Text(
        "It is paused. Wake it to continue where it was.",
        "Er ist angehalten. Weckst du ihn auf, macht er dort weiter, wo er war.",
    ),
    WorkspaceStatus.STOPPING: Text(
        "It is stopping. In a moment you can start it again.",
        "Er wird gerade beendet. Gleich kannst du ihn wieder starten.",
    ),
    WorkspaceStatus.STOPPED: Text(
        "It is stopped. Your files are kept.", "Er ist beendet. Die Dateien bleiben erhalten."
    ),
    WorkspaceStatus.DELETING: Text(
        "It is being deleted. In a moment you can launch it again.",
        "Er wird gerade gelöscht. Gleich kannst du ihn von Neuem starten.",
    ),
    WorkspaceStatus.ERROR: Text(
        "It could not be started, or it ended by itself.",
        "Er konnte nicht gestartet werden oder hat sich von selbst beendet.",
    ),
}
START = Text("Start it", "Starten")
WAKE = Text("Wake it", "Aufwecken")
PROGRESS = Text("Show progress", "Fortschritt anzeigen")
STARTING = Text("Workspace is starting", "Arbeitsplatz startet")
OPEN = Text("Open it again", "Noch einmal öffnen")
HOME = Text("Go to my home page", "Zur Startseite")
TAB = Text("Open in a tab", "In einem Tab öffnen")
HERE = Text("It is open: show it here", "Er ist offen: hier anzeigen")


def _place(refusal: ErrorPage) -> str:
    """Return the query with the visitor's path in the workspace; empty for errors other than a stopped workspace."""
    if not isinstance(refusal.error, WorkspaceNotRunning) or refusal.route.rest in ("", "/"):
        return ""
    return f"?{urlencode({'next': refusal.route.rest}, encoding='latin-1')}"


def policy(settings: Settings, refusal: ErrorPage) -> str:
    """Build the page's CSP: frameable by the allowed origins, and by any if it only links out of the frame."""
    if isinstance(refusal.error, OpenInTab):
        return POLICY + "*"
    return POLICY + ("'self' " + " ".join(settings.frame_ancestors) if settings.frame_ancestors else "'none'")


def render(settings: Settings, refusal: ErrorPage, locale: Locale) -> str:
    """Render the page with the reason. It reloads itself while the workspace starts."""
    error, moving, route = refusal.error, refusal.status in MOVING, refusal.route
    text, link = error.detail, f"{settings.public_url}/open/{route.name}{_place(refusal)}"
    if isinstance(error, OpenInTab):
        action, link = TAB, address_of(settings, route.name, route.rest)
    elif isinstance(error, InvalidHandoff | CookiesTooLarge | SentFromElsewhere | NotEntered):
        action = OPEN
    elif isinstance(error, WorkspaceNotRunning) and not isinstance(error, SharedNotRunning):
        text = STATES[refusal.status or WorkspaceStatus.NOT_CREATED]
        action = PROGRESS if moving else WAKE if refusal.status == WorkspaceStatus.PAUSED else START
    else:
        action, link = HOME, f"{settings.public_url}/"
    return _templates.get_template("page.html").render(
        locale=locale,
        style=_STYLE,
        script=_SCRIPT,
        refresh=error.headers["Retry-After"] if moving else None,
        name=route.name,
        title=(STARTING if refusal.status in STARTING_STATES else error.title).format(locale),
        text=text.format(locale, **error.values),
        link=link,
        action=action.format(locale),
        framed=refusal.framed,
        here=HERE.format(locale) if isinstance(error, OpenInTab) and settings.frame_ancestors else None,
    )
