"""The gateway's own errors."""

from collections.abc import Mapping

from app.core.errors import AppError, Forbidden, Unauthorized
from app.core.i18n import Text


class TokenRefused(Unauthorized):
    """Names the ways to send a token: some clients probe for them without credentials."""

    detail = Text(
        "Send a valid personal token with the scope `workspaces`: this one is missing, expired or revoked.",
        "Bitte ein persönliches Token mit dem Recht `workspaces` mitsenden: Es fehlt, ist abgelaufen oder widerrufen.",
    )

    def __init__(self) -> None:
        super().__init__()
        self.headers["WWW-Authenticate"] = 'Basic realm="Spawner", Bearer'


class TokenInBrowser(AppError):
    code = "token_in_browser"
    status = 403
    title = Text("Not in a browser", "Nicht im Browser")
    detail = Text(
        "A personal token opens workspaces for programs, not for a browser's pages. Open the workspace from your home "
        "page.",
        "Ein persönliches Token öffnet Arbeitsplätze für Programme, nicht für Seiten im Browser. Bitte den "
        "Arbeitsplatz auf der Startseite öffnen.",
    )


class OpenInTab(Forbidden):
    title = Text("Open this workspace in a tab", "Diesen Arbeitsplatz in einem Tab öffnen")
    detail = Text(
        "It cannot be shown inside this page before you have opened it in its own tab.",
        "Er kann innerhalb dieser Seite nicht angezeigt werden, bevor er in einem eigenen Tab geöffnet wurde.",
    )


class SentFromElsewhere(Forbidden):
    detail = Text(
        "Another website sent a form to this workspace, and it was not delivered. If you were signing in or "
        "paying there, ask the operator of this installation to allow forms from that website.",
        "Eine andere Website hat etwas an diesen Arbeitsplatz gesendet, und es wurde nicht zugestellt. Gehört das zu "
        "einer Anmeldung oder Zahlung, bitte den Betreiber dieser Installation ansprechen: Formulare jener Website "
        "lassen sich erlauben.",
    )


class TooManyEntries(AppError):
    code = "too_many_entries"
    status = 429
    title = Text("Opened too often", "Zu oft geöffnet")
    detail = Text(
        "This session opened workspaces too often within a minute. Wait a minute, then open the workspace again.",
        "Mit dieser Anmeldung wurden binnen einer Minute zu oft Arbeitsplätze geöffnet. Bitte eine Minute warten und "
        "den Arbeitsplatz dann noch einmal öffnen.",
    )


class NotEntered(Unauthorized):
    detail = Text(
        "You are not signed in to this workspace, so your request was not delivered. Open it again, and repeat the "
        "step.",
        "Du bist an diesem Arbeitsplatz nicht angemeldet, deshalb ist nichts angekommen. Bitte den Arbeitsplatz noch "
        "einmal öffnen und den Schritt wiederholen.",
    )


class WorkspaceNotRunning(AppError):
    code = "workspace_not_running"
    status = 503
    title = Text("Workspace not running", "Arbeitsplatz läuft nicht")
    detail = Text(
        "This workspace is not running. Start it from your home page.",
        "Dieser Arbeitsplatz läuft nicht. Er lässt sich auf der Startseite starten.",
    )


class SharedNotRunning(WorkspaceNotRunning):
    code = "shared_not_running"
    detail = Text(
        "This workspace is not running. Only its owner can start it.",
        "Dieser Arbeitsplatz läuft nicht. Nur wem er gehört, kann ihn starten.",
    )


class TooManySockets(AppError):
    code = "too_many_websockets"
    status = 429
    title = Text("Too many websockets", "Zu viele Websockets")
    detail = Text(
        "Too many websockets are open for your account. Close some of the tabs of your workspaces.",
        "Für dein Konto sind zu viele Websockets offen. Bitte einige Tabs deiner Arbeitsplätze schließen.",
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


class WorkspaceBusy(WorkspaceUnreachable):
    code = "workspace_busy"
    title = Text("Too many requests at once", "Zu viele Anfragen auf einmal")
    detail = Text(
        "This workspace has too many open requests. Close some of its tabs, or wait until it has answered.",
        "In diesem Arbeitsplatz laufen zu viele Anfragen. Bitte einige seiner Tabs schließen oder warten, bis er "
        "geantwortet hat.",
    )


class WorkspaceSlow(WorkspaceUnreachable):
    code = "workspace_slow"
    status = 504
    title = Text("Workspace takes too long", "Arbeitsplatz braucht zu lange")
    detail = Text(
        "This workspace accepted the request but did not answer in time. It may still carry the request out.",
        "Dieser Arbeitsplatz hat die Anfrage angenommen, aber nicht rechtzeitig geantwortet. Er führt sie vielleicht "
        "noch aus.",
    )


class InvalidAnswer(WorkspaceUnreachable):
    code = "workspace_invalid_answer"
    status = 502
    title = Text("Invalid answer from the workspace", "Ungültige Antwort des Arbeitsplatzes")
    detail = Text(
        "This workspace's answer is not valid HTTP, or its headers are larger than 64 KB.",
        "Die Antwort dieses Arbeitsplatzes ist kein gültiges HTTP, oder ihre Kopfzeilen sind größer als 64 KB.",
    )


# Why a forwarded request got no response, by the proxy's words.
FAILURES: Mapping[str, type[WorkspaceUnreachable]] = {
    "busy": WorkspaceBusy,
    "slow": WorkspaceSlow,
    "invalid": InvalidAnswer,
}


class CookiesTooLarge(AppError):
    code = "cookies_too_large"
    status = 431
    title = Text("Too many cookies", "Zu viele Cookies")
    detail = Text(
        "This workspace's cookies were larger than 64 KB, so your request was not delivered. They have been deleted: "
        "open it again.",
        "Die Cookies dieses Arbeitsplatzes waren größer als 64 KB, deshalb ist nichts angekommen. Sie sind jetzt "
        "gelöscht: Bitte noch einmal öffnen.",
    )


class InvalidHandoff(AppError):
    code = "invalid_handoff"
    status = 400
    title = Text("Entry has expired", "Dieser Zugang ist abgelaufen")
    detail = Text(
        "The code was already used, is older than a minute, or belongs to another browser. Open the workspace again.",
        "Der Code wurde schon benutzt, ist älter als eine Minute oder gehört zu einem anderen Browser. Bitte den "
        "Arbeitsplatz noch einmal öffnen.",
    )
