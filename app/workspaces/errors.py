"""Why a launch was refused or failed: a code for programs, a sentence with the remedy for people."""

from app.errors import AppError
from app.i18n import Locale, Text


class UnknownTemplate(AppError):
    code = "unknown_template"
    status = 400
    title = Text("Unknown type", "Unbekannter Typ")
    detail = Text("The catalogue has no such type.", "Der Katalog kennt diesen Typ nicht.")


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
        "Bitte in einer Minute erneut starten; sonst den Betreiber informieren.",
    ),
    "engine_unavailable": Text(
        "The container engine did not answer. Launch again in a minute.",
        "Die Container-Engine hat nicht geantwortet. Bitte in einer Minute erneut starten.",
    ),
    "engine_error": Text(
        "The container engine refused to run this workspace. Tell your operator.",
        "Die Container-Engine wollte diesen Arbeitsplatz nicht ausführen. Bitte den Betreiber informieren.",
    ),
    "no_subnet": Text(
        "The server has no free network for another workspace. Tell your operator.",
        "Der Server hat kein freies Netz für einen weiteren Arbeitsplatz. Bitte den Betreiber informieren.",
    ),
    "exited": Text(
        "The workspace ended right after its start. Launch again; if it ends again, tell your operator.",
        "Der Arbeitsplatz hat sich gleich nach dem Start beendet. "
        "Bitte erneut starten; sonst den Betreiber informieren.",
    ),
    "out_of_memory": Text(
        "The workspace ran out of memory while it started. Ask your operator for a larger limit.",
        "Dem Arbeitsplatz ging beim Start der Speicher aus. Bitte den Betreiber um ein höheres Limit.",
    ),
    "probe_timeout": Text(
        "The workspace started but did not answer in time. Launch again; if it happens again, tell your operator.",
        "Der Arbeitsplatz ist gestartet, hat aber nicht rechtzeitig geantwortet. "
        "Bitte erneut starten; sonst den Betreiber informieren.",
    ),
    "deadline": Text(
        "The launch took too long and was given up. Launch again.",
        "Der Start hat zu lange gedauert und wurde abgebrochen. Bitte erneut starten.",
    ),
    "template_gone": Text(
        "This type is no longer in the catalogue.",
        "Diesen Typ gibt es im Katalog nicht mehr.",
    ),
    "superseded": Text("A newer request took over.", "Eine neuere Anfrage hat übernommen."),
}


def explain(code: str, locale: Locale) -> str:
    """The sentence for a failure's code."""
    return FAILURES.get(code, FAILURES["engine_error"]).say(locale)
