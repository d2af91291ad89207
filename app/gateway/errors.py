"""What the gateway refuses with, beside the errors that all of the app share."""

from app.errors import AppError
from app.i18n import Text


class WorkspaceNotRunning(AppError):
    code = "workspace_not_running"
    status = 503
    title = Text("Workspace not running", "Arbeitsplatz läuft nicht")
    detail = Text(
        "This workspace is not running. Start it from your home page.",
        "Dieser Arbeitsplatz läuft nicht. Er lässt sich auf der Startseite starten.",
    )


class WorkspaceUnreachable(AppError):
    code = "workspace_unreachable"
    status = 503
    title = Text("Workspace does not answer", "Arbeitsplatz antwortet nicht")
    detail = Text(
        "This workspace is running but does not answer. Try again in a moment, or restart it from your home page.",
        "Dieser Arbeitsplatz läuft, antwortet aber nicht. Bitte gleich noch einmal versuchen oder ihn auf der "
        "Startseite neu starten.",
    )


class InvalidCode(AppError):
    code = "invalid_code"
    status = 400
    title = Text("This way in has closed", "Dieser Zugang ist abgelaufen")
    detail = Text(
        "The code was used before, is older than a minute, or was made for another browser. Open the workspace again.",
        "Der Code wurde schon benutzt, ist älter als eine Minute oder gehört zu einem anderen Browser. Bitte den "
        "Arbeitsplatz noch einmal öffnen.",
    )
