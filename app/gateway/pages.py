"""The gateway's pages. They stand at a workspace's origin, where the platform's files are not: one self-contained
page, whose only style is named by its hash in the policy."""

import hashlib
from base64 import b64encode
from pathlib import Path
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.gateway.errors import CookiesTooLarge, InvalidCode, SharedNotRunning, WorkspaceUnreachable
from app.gateway.service import MOVING, Refusal
from app.i18n import Locale, Text
from app.middleware import HeadersTooLarge
from app.models import WorkspaceStatus
from app.settings import Settings
from app.workspaces.errors import Refused
from app.workspaces.states import ON_THE_WAY_UP

_FOLDER = Path(__file__).parent
_STYLE = (_FOLDER / "page.css").read_text("utf-8")
_STYLE_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_templates = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)

STATES: dict[WorkspaceStatus, Text] = {
    WorkspaceStatus.NOT_CREATED: Text("It has not been launched yet.", "Er wurde noch nicht gestartet."),
    WorkspaceStatus.QUEUED: Text(
        "It waits for its turn, or for room on the server.",
        "Er wartet, bis er an der Reihe oder auf dem Server Platz ist.",
    ),
    WorkspaceStatus.PULLING: Text("Its image is being fetched.", "Sein Image wird gerade geladen."),
    WorkspaceStatus.CREATING: Text("It is being created.", "Er wird gerade angelegt."),
    WorkspaceStatus.STARTING: Text("It is starting.", "Er startet gerade."),
    WorkspaceStatus.PROBING: Text("It has started and is getting ready.", "Er ist gestartet und gleich bereit."),
    WorkspaceStatus.RUNNING: Text("It has just become ready.", "Er ist gerade bereit geworden."),
    WorkspaceStatus.PAUSED: Text(
        "It is paused. Once it is awake, it goes on where it was.",
        "Er ist angehalten. Ist er wach, geht es darin weiter, wo es aufgehört hat.",
    ),
    WorkspaceStatus.STOPPING: Text(
        "It is stopping. In a moment you can start it again.",
        "Er wird gerade beendet. Gleich kannst du ihn wieder starten.",
    ),
    WorkspaceStatus.STOPPED: Text(
        "It is stopped. Your files are kept.", "Er ist beendet. Die Dateien bleiben erhalten."
    ),
    WorkspaceStatus.DELETING: Text(
        "It is being deleted. In a moment you can launch it anew.",
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


def _place(refusal: Refusal) -> str:
    """Where in the workspace the person was going; a code that was refused leads to none."""
    if isinstance(refusal.error, InvalidCode) or refusal.route.rest in ("", "/"):
        return ""
    return f"?{urlencode({'next': refusal.route.rest}, encoding='latin-1')}"


def render(settings: Settings, refusal: Refusal, locale: Locale) -> str:
    """The page that says why a workspace cannot be seen now. While it is starting, the page asks again by itself."""
    error, moving = refusal.error, refusal.status in MOVING
    if isinstance(error, InvalidCode | CookiesTooLarge):
        text, action = error.detail, OPEN
    elif isinstance(error, SharedNotRunning | WorkspaceUnreachable | HeadersTooLarge | Refused):
        text, action = error.detail, HOME
    else:
        text = STATES[refusal.status or WorkspaceStatus.NOT_CREATED]
        action = PROGRESS if moving else WAKE if refusal.status == WorkspaceStatus.PAUSED else START
    link = "" if action is HOME else f"open/{refusal.route.name}{_place(refusal)}"
    return _templates.get_template("page.html").render(
        locale=locale,
        style=_STYLE,
        refresh=error.headers["Retry-After"] if moving else None,
        name=refusal.route.name,
        title=(STARTING if refusal.status in ON_THE_WAY_UP else error.title).say(locale),
        text=text.say(locale, **error.values),
        link=f"{settings.public_url}/{link}",
        action=action.say(locale),
    )
