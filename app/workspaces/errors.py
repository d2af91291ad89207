"""Errors of launches, refused or failed: a code for programs, a sentence with the remedy for users."""

from app.core.errors import AppError
from app.core.i18n import Locale, Text


class NotCancellable(AppError):
    code = "not_cancellable"
    status = 409
    title = Text("Too late to cancel", "Zu spät zum Abbrechen")
    detail = Text(
        "A stop or deletion that has begun cannot be cancelled. Launch the workspace again instead.",
        "Ein begonnenes Beenden oder Löschen lässt sich nicht abbrechen. Starte den Arbeitsplatz stattdessen neu.",
    )


class VolumeInUse(AppError):
    code = "volume_in_use"
    status = 409
    title = Text("Volume in use", "Volume wird benutzt")
    detail = Text(
        "A workspace uses these files. Delete the workspace first; stopping it is not enough.",
        "Ein Arbeitsplatz benutzt diese Dateien. Lösche zuerst den Arbeitsplatz; ihn zu beenden, reicht nicht.",
    )


class NotExtendable(AppError):
    code = "not_extendable"
    status = 409
    title = Text("Not running", "Läuft nicht")
    detail = Text(
        "Only a running or paused workspace can be extended. Launch it first.",
        "Nur ein laufender oder angehaltener Arbeitsplatz lässt sich weiter offen halten. Bitte zuerst starten.",
    )


class UntilOutOfRange(AppError):
    code = "until_out_of_range"
    status = 400
    title = Text("Time out of range", "Zeitpunkt nicht möglich")
    detail = Text(
        "The time must be in the future, within a week, and before the workspace's maximum lifetime ends (`ends_at`).",
        "Der Zeitpunkt muss in der Zukunft liegen, binnen einer Woche und vor dem Ende der maximalen Laufzeit "
        "(`ends_at`).",
    )


class TooManyStreams(AppError):
    code = "too_many_streams"
    status = 429
    title = Text("Too many open at once", "Zu viele zugleich offen")
    detail = Text(
        "Your account is following too many jobs and logs at once. Close some tabs or programs, then try again.",
        "Dein Konto verfolgt zu viele Aufträge und Protokolle zugleich. Schließe einige Tabs oder Programme und "
        "versuche es dann noch einmal.",
    )

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "5"})


class Refused(AppError):
    """A limit refuses a launch."""


class QuotaUserRunning(Refused):
    code = "quota_user_running"
    status = 409
    title = Text("Limit reached", "Limit erreicht")
    detail = Text(
        "Your limit of running workspaces ({limit}) is reached. Stop one of them first.",
        "Dein Limit für laufende Arbeitsplätze ({limit}) ist erreicht. Beende zuerst einen davon.",
    )
    example = {"limit": 10}


class _Full(Refused):
    status = 503
    title = Text("No capacity right now", "Gerade kein Platz")


class CapacityLaunches(_Full):
    code = "capacity_launches"
    detail = Text(
        "Too many launches are waiting already. Try again in a few minutes.",
        "Es warten schon zu viele Starts. Bitte in einigen Minuten erneut versuchen.",
    )


class CapacityRunning(_Full):
    code = "capacity_running"
    detail = Text(
        "The server already runs as many workspaces as allowed. Try again later, or ask your operator.",
        "Auf dem Server laufen so viele Arbeitsplätze, wie erlaubt sind. Bitte später erneut versuchen.",
    )


class CapacityMemory(_Full):
    code = "capacity_memory"
    detail = Text(
        "Other workspaces use all of the server's memory. Try again later, or ask your operator.",
        "Der Arbeitsspeicher des Servers ist durch andere Arbeitsplätze belegt. Bitte später erneut versuchen.",
    )


class CapacityCpu(_Full):
    code = "capacity_cpu"
    detail = Text(
        "Other workspaces use all of the server's processors. Try again later, or ask your operator.",
        "Die Prozessoren des Servers sind durch andere Arbeitsplätze belegt. Bitte später erneut versuchen.",
    )


class CapacityDisk(_Full):
    code = "capacity_disk"
    detail = Text(
        "The server's disk is almost full. Tell your operator.",
        "Die Festplatte des Servers ist fast voll. Bitte den Betreiber informieren.",
    )


CAPACITY: dict[str, type[Refused]] = {
    error.code: error for error in (CapacityLaunches, CapacityRunning, CapacityMemory, CapacityCpu, CapacityDisk)
}


class NoContainer(AppError):
    code = "no_container"
    status = 404
    title = Text("No container", "Kein Container")
    detail = Text(
        "There is no workspace of this type yet: launch it first.",
        "Es gibt noch keinen Arbeitsplatz dieses Typs: bitte zuerst starten.",
    )


class LogsUnavailable(AppError):
    code = "logs_unavailable"
    status = 503
    title = Text("No log right now", "Gerade kein Protokoll")
    detail = Text(
        "The log cannot be read right now: no worker is free, or the container engine does not answer. "
        "Try again in a few seconds.",
        "Das Protokoll lässt sich gerade nicht lesen: Kein Worker ist frei, oder die Container-Engine antwortet nicht. "
        "Bitte in einigen Sekunden erneut versuchen.",
    )

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "5"})


FAILURES: dict[str, Text] = {
    "image_missing": Text(
        "The image of this workspace is not on the server. Ask your operator to build or pull it.",
        "Das Image dieses Arbeitsplatzes fehlt auf dem Server. Bitte den Betreiber, es zu bauen oder zu laden.",
    ),
    "image_pull_failed": Text(
        "The image could not be downloaded. Launch again in a minute; if it fails again, tell your operator.",
        "Das Image ließ sich nicht herunterladen. "
        "Bitte in einer Minute erneut starten; passiert es wieder, den Betreiber informieren.",
    ),
    "engine_unavailable": Text(
        "The container engine did not answer. Launch again in a minute.",
        "Die Container-Engine hat nicht geantwortet. Bitte in einer Minute erneut starten.",
    ),
    "engine_error": Text(
        "The container engine refused to run this workspace. Tell your operator.",
        "Die Container-Engine hat es abgelehnt, diesen Arbeitsplatz auszuführen. Bitte den Betreiber informieren.",
    ),
    "internal_error": Text(
        "The server failed unexpectedly. Tell your operator: the workers' log and the job contain the error.",
        "Auf dem Server ist ein unerwarteter Fehler aufgetreten. "
        "Bitte den Betreiber informieren: Das Protokoll der Worker und der Auftrag nennen ihn.",
    ),
    "no_subnet": Text(
        "The server has no free network for another workspace. Tell your operator.",
        "Der Server hat kein freies Netz für einen weiteren Arbeitsplatz. Bitte den Betreiber informieren.",
    ),
    "exited": Text(
        "The workspace ended by itself. Look at its log, then launch it again; if it ends again, tell your operator.",
        "Der Arbeitsplatz hat sich von selbst beendet. Sieh in sein Protokoll und starte ihn erneut; "
        "passiert es wieder, informiere den Betreiber.",
    ),
    "out_of_memory": Text(
        "The workspace ran out of memory. Launch it again; if it needs more, ask your operator for a larger limit.",
        "Dem Arbeitsplatz ging der Speicher aus. "
        "Starte ihn erneut; braucht er mehr, bitte den Betreiber um ein höheres Limit.",
    ),
    "probe_timeout": Text(
        "The workspace started but did not answer in time. Launch again; if it happens again, tell your operator.",
        "Der Arbeitsplatz ist gestartet, hat aber nicht rechtzeitig geantwortet. "
        "Bitte erneut starten; passiert es wieder, bitte den Betreiber informieren.",
    ),
    "probe_wrong_port": Text(
        "The workspace started, but listens on another port or address than its type declares. "
        "Tell your operator: the job's timeline shows where it listens.",
        "Der Arbeitsplatz ist gestartet, lauscht aber auf einem anderen Port oder einer anderen Adresse, als sein Typ "
        "angibt. Bitte den Betreiber informieren: Die Schritte des Auftrags nennen, wo er lauscht.",
    ),
    "probe_error": Text(
        "The workspace started, but answers with an error. Look at its log, then launch it again; "
        "if it happens again, tell your operator.",
        "Der Arbeitsplatz ist gestartet, antwortet aber mit einem Fehler. Sieh in sein Protokoll und starte ihn "
        "erneut; passiert es wieder, bitte den Betreiber informieren.",
    ),
    "deadline": Text(
        "This timed out. Try again; if it happens again, tell your operator.",
        "Das hat zu lange gedauert und wurde abgebrochen. Bitte erneut versuchen; passiert es wieder, den Betreiber "
        "informieren.",
    ),
    "egress_unenforceable": Text(
        "This workspace's network access is restricted, and the server cannot enforce that. "
        "Tell your operator: `spawner doctor` shows what is missing.",
        "Der Netzzugang dieses Arbeitsplatzes ist beschränkt, und der Server kann das nicht durchsetzen. "
        "Bitte den Betreiber informieren: `spawner doctor` zeigt, was fehlt.",
    ),
    "name_taken": Text(
        "The server already has something else with this workspace's name, so nothing was changed. "
        "Tell your operator: the job shows admins what it is.",
        "Auf dem Server trägt schon etwas anderes den Namen dieses Arbeitsplatzes; es wurde nichts verändert. "
        "Bitte den Betreiber informieren: Administratoren sehen im Auftrag, was es ist.",
    ),
    "policy": Text(
        "This type requests privileges that workspaces may not have, so it was not started. "
        "Tell your operator: the workers' log names what was refused.",
        "Dieser Typ verlangt Rechte, die Arbeitsplätze nicht haben dürfen, und wurde deshalb nicht gestartet. "
        "Bitte den Betreiber informieren: Das Protokoll der Worker nennt, was abgelehnt wurde.",
    ),
    "template_gone": Text(
        "This type is no longer in the catalogue.",
        "Diesen Typ gibt es im Katalog nicht mehr.",
    ),
    "removed": Text(
        "The workspace's container was removed on the server. Launch it again; files on its volume are still there.",
        "Der Container des Arbeitsplatzes wurde auf dem Server entfernt. "
        "Starte ihn erneut; Dateien auf seinem Volume sind noch da.",
    ),
    "cancelled": Text("The request was cancelled.", "Die Anfrage wurde abgebrochen."),
    "superseded": Text("A newer request replaced this one.", "Eine neuere Anfrage hat diese ersetzt."),
}


def explain(code: str, locale: Locale) -> str:
    """Return the sentence of a failure code."""
    if code in CAPACITY:
        return CAPACITY[code].detail.format(locale)
    return FAILURES.get(code, FAILURES["engine_error"]).format(locale)
