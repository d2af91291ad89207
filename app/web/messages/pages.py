"""Texts of the pages; templates refer to them by name."""

from datetime import datetime

from app.core.i18n import Locale, Text
from app.models import JobKind, JobStep, WorkspaceStatus
from app.web.messages.account import ACCOUNT
from app.web.messages.idle import REST
from app.web.messages.sharing import SHARING
from app.web.messages.sign_in import SIGN_IN

PAGE: dict[str, Text] = {
    "skip": Text("Skip to the content", "Zum Inhalt springen"),
    "sign_out": Text("Sign out", "Abmelden"),
    "signed_in_as": Text("Signed in as", "Angemeldet als"),
    "to_home": Text("Go to your home page", "Zur Startseite"),
    "connection": Text(
        "The server does not answer right now. Your workspaces keep running; this page tries again by itself.",
        "Der Server antwortet gerade nicht. Deine Arbeitsplätze laufen weiter; diese Seite fragt von selbst wieder.",
    ),
    # Sign in
    "sign_in": Text("Sign in", "Anmelden"),
    "sign_in_lead": Text(
        "Enter your e-mail address and we send you a link. There is no password.",
        "Gib deine E-Mail-Adresse ein, und wir schicken dir einen Link. Ein Passwort gibt es nicht.",
    ),
    "sign_in_new": Text(
        "New here? The same link creates your account.", "Neu hier? Derselbe Link richtet dein Konto ein."
    ),
    "sign_in_next": Text(
        "Sign in to open the workspace {route}. You will be taken there afterwards.",
        "Melde dich an, um den Arbeitsplatz {route} zu öffnen. Danach geht es dort weiter.",
    ),
    "email": Text("E-mail address", "E-Mail-Adresse"),
    "email_example": Text("you@example.org", "du@example.org"),
    "send_link": Text("Send me a link", "Link schicken"),
    "invalid_email": Text(
        "This is not a usable e-mail address. Please check it.",
        "Das ist keine brauchbare E-Mail-Adresse. Bitte prüfe sie.",
    ),
    "unavailable": Text(
        "No link can be sent right now. Please try again in a few seconds.",
        "Gerade lässt sich kein Link verschicken. Bitte versuche es in einigen Sekunden noch einmal.",
    ),
    # Look into your mailbox
    "check_mail": Text("Look into your mailbox", "Sieh in dein Postfach"),
    "check_mail_lead": Text(
        "If this address can sign in here, a mail with a link is on its way to you.",
        "Wenn sich diese Adresse hier anmelden kann, ist eine Mail mit einem Link unterwegs zu dir.",
    ),
    "check_mail_open": Text(
        "Open the mail and follow its link, best in this browser.",
        "Öffne die Mail und folge dem Link, am besten in diesem Browser.",
    ),
    "check_mail_press": Text(
        "Press the button on the page that opens.", "Drücke auf der Seite, die sich öffnet, den Knopf."
    ),
    "code": Text("Or type the code from the mail here", "Oder gib hier den Code aus der Mail ein"),
    "code_example": Text("e.g. 7K2M-Q9XD", "z. B. 7K2M-Q9XD"),
    "code_button": Text("Sign in with the code", "Mit dem Code anmelden"),
    "code_empty": Text("Type the code first.", "Gib zuerst den Code ein."),
    "code_no_answer": Text(
        "The server does not answer. Please try again in a moment.",
        "Der Server antwortet nicht. Bitte versuche es gleich noch einmal.",
    ),
    "link_life_one": Text(
        "The link or the code works once, within a minute.", "Link oder Code gilt einmal und eine Minute lang."
    ),
    "link_life": Text(
        "The link or the code works once, within {minutes} minutes.",
        "Link oder Code gilt einmal und {minutes} Minuten lang.",
    ),
    "check_mail_nothing": Text(
        "No mail? Look into the spam folder, or check the address and",
        "Keine Mail da? Sieh in den Spam-Ordner, oder prüfe die Adresse und",
    ),
    "try_again": Text("request a new link", "fordere einen neuen Link an"),
    "development_mail": Text(
        "This is a development installation: “make inbox” shows the mails that it sends.",
        "Dies ist eine Entwicklungsinstallation: „make inbox“ zeigt die Mails, die sie verschickt.",
    ),
    # Confirm
    "confirm": Text("Confirm your sign-in", "Anmeldung bestätigen"),
    "confirm_looking": Text("Checking your link…", "Dein Link wird geprüft …"),
    "confirm_as": Text("You are signing in as", "Du meldest dich an als"),
    "confirm_other": Text(
        "This link was requested in another browser. Continue only if you requested it, and this is your address.",
        "Dieser Link wurde in einem anderen Browser angefordert. Mach nur weiter, wenn du es warst und dies deine "
        "Adresse ist.",
    ),
    "confirm_not_you": Text(
        "Did you not request a link? Then close this page: nothing happens unless you press the button.",
        "Du hast keinen Link angefordert? Dann schließe diese Seite: Ohne den Knopf geschieht nichts.",
    ),
    "confirm_button": Text("Confirm and sign in", "Bestätigen und anmelden"),
    "confirm_incomplete": Text(
        "This link is incomplete, or the page was reloaded. Open the link from your mail once more.",
        "Dieser Link ist unvollständig, oder die Seite wurde neu geladen. Öffne den Link aus deiner Mail noch einmal.",
    ),
    "confirm_no_answer": Text(
        "The server does not answer. Your link is still valid: press the button again in a moment.",
        "Der Server antwortet nicht. Dein Link gilt noch: Drücke den Knopf gleich noch einmal.",
    ),
    "confirm_no_script": Text(
        "Signing in needs JavaScript: the link's secret is kept from the server until you press the button.",
        "Zum Anmelden ist JavaScript nötig: Das Geheimnis im Link erreicht den Server erst, wenn du den Knopf drückst.",
    ),
    "new_link": Text("Request a new link", "Neuen Link anfordern"),
    # Home
    "workspaces": Text("Your workspaces", "Deine Arbeitsplätze"),
    "workspaces_lead": Text(
        "Each card is a workspace in its own container. It keeps running when you close its tab.",
        "Jede Karte ist ein Arbeitsplatz in einem eigenen Container. Er läuft weiter, wenn du seinen Tab schließt.",
    ),
    "welcome": Text("Welcome to Spawner", "Willkommen bei Spawner"),
    "welcome_launch": Text(
        "Launch a workspace. It starts in a container for you alone; this page shows its progress.",
        "Starte einen Arbeitsplatz. Er startet in einem Container für dich allein; diese Seite zeigt den Fortschritt.",
    ),
    "welcome_open": Text(
        "Open it. It appears in a new tab, and nobody but you can reach it unless you share it.",
        "Öffne ihn. Er erscheint in einem neuen Tab, und niemand außer dir kommt hinein, es sei denn, du teilst ihn.",
    ),
    "welcome_return": Text(
        "Come back any time. If something hangs, restart it here.",
        "Komm jederzeit wieder. Wenn etwas hängt, starte ihn hier neu.",
    ),
    "welcome_default": Text(
        "“{name}” is started for you at sign-in, so that you have something to look at.",
        "„{name}“ wird beim Anmelden für dich gestartet, damit du gleich etwas zum Ansehen hast.",
    ),
    "memory": Text("{amount} memory", "{amount} Speicher"),
    "cpu_one": Text("1 CPU", "1 CPU"),
    "cpus": Text("{amount} CPUs", "{amount} CPUs"),
    "keeps_files": Text("Files are kept", "Dateien bleiben erhalten"),
    "keeps_nothing": Text("Keeps no files", "Behält keine Dateien"),
    "launch": Text("Launch", "Starten"),
    "launch_again": Text("Launch again", "Erneut starten"),
    "open": Text("Open", "Öffnen"),
    "new_tab": Text("(opens in a new tab)", "(öffnet einen neuen Tab)"),
    "start_again": Text("Start again", "Wieder starten"),
    "cancel": Text("Cancel", "Abbrechen"),
    "more": Text("More", "Mehr"),
    "wakes": Text("Paused: opening it wakes it.", "Angehalten: Öffnen weckt ihn auf."),
    "extend": Text("Keep it going", "Weiterlaufen lassen"),
    "keep": Text("Do not stop it yet", "Noch nicht beenden"),
    "outdated": Text(
        "A newer image is available: restart to use it.", "Es gibt ein neueres Image: Ein Neustart nimmt es."
    ),
    "stop": Text("Stop", "Beenden"),
    "stop_ends": Text(
        "Its programs end. Its files are kept, and you can start it again.",
        "Was darin läuft, endet. Die Dateien bleiben, wo sie sind, und du kannst ihn wieder starten.",
    ),
    "stop_loses": Text(
        "Its programs end, and you can start it again. It keeps no files: whatever was written in it is lost at the "
        "next restart at the latest.",
        "Was darin läuft, endet, und du kannst ihn wieder starten. Er behält keine Dateien: Was darin geschrieben "
        "wurde, bleibt höchstens bis zu einem Neustart.",
    ),
    "delete": Text("Delete", "Löschen"),
    "delete_lead": Text(
        "The container is removed, with everything in it except the files in your folder.",
        "Der Container wird entfernt, mit allem darin außer den Dateien in deinem Ordner.",
    ),
    "delete_loses": Text(
        "The container is removed, with everything in it. This cannot be undone.",
        "Der Container wird mit allem, was darin ist, entfernt. Das lässt sich nicht rückgängig machen.",
    ),
    "files": Text("What should happen to the files?", "Was soll mit den Dateien geschehen?"),
    "files_keep_one": Text(
        "Keep them for a day: the next launch finds them again",
        "Einen Tag lang behalten: Der nächste Start findet sie wieder",
    ),
    "files_keep": Text(
        "Keep them for {days} days: the next launch finds them again",
        "{days} Tage lang behalten: Der nächste Start findet sie wieder",
    ),
    "files_delete": Text(
        "Delete them now; this cannot be undone", "Sofort löschen, was sich nicht rückgängig machen lässt"
    ),
    "delete_now": Text("Delete now", "Jetzt löschen"),
    "restart": Text("Restart", "Neu starten"),
    "restart_keeps": Text(
        "The container is replaced by a new one. Its programs end; files in its folder are kept.",
        "Der Container wird durch einen neuen ersetzt. Was darin läuft, endet; Dateien in seinem Ordner bleiben.",
    ),
    "restart_loses": Text(
        "The container is replaced by a new one. Its programs end, and nothing in it is kept.",
        "Der Container wird durch einen neuen ersetzt. Was darin läuft, endet, und nichts darin bleibt erhalten.",
    ),
    "restart_now": Text("Restart now", "Jetzt neu starten"),
    "failed": Text("That did not work.", "Das hat nicht geklappt."),
    "exit_code": Text("Exit code {code}.", "Exit-Code {code}."),
    "show_log": Text("Show the log", "Protokoll anzeigen"),
    "image_building": Text(
        "The image of this workspace is still being built. You may launch it now; it starts once the image is there.",
        "Das Image dieses Arbeitsplatzes wird noch gebaut. Du kannst ihn schon starten; er läuft an, sobald es da ist.",
    ),
    "image_failed": Text(
        "The image of this workspace could not be built. Ask your operator to look at the build's log.",
        "Das Image dieses Arbeitsplatzes ließ sich nicht bauen. Bitte den Betreiber, ins Protokoll des Baus zu sehen.",
    ),
    "progress_of": Text("Progress of {name}", "Fortschritt von {name}"),
    "position_first": Text("next in the queue", "als Nächster an der Reihe"),
    "position": Text("number {position} in the queue", "Platz {position} in der Warteschlange"),
    "usually": Text("usually {seconds} s", "meist {seconds} s"),
    "bytes": Text("{done} of {total} MB", "{done} von {total} MB"),
    # A log
    "log": Text("Log of {name}", "Protokoll von {name}"),
    "log_when": Text("Failed on {when} UTC.", "Fehlgeschlagen am {when} UTC."),
    "log_lines": Text("The last lines that its container wrote:", "Die letzten Zeilen, die sein Container schrieb:"),
    "log_now": Text(
        "The last lines that its container wrote, at most {count}:",
        "Die letzten Zeilen, die sein Container schrieb, höchstens {count}:",
    ),
    "log_silent": Text("Its container has written nothing so far.", "Sein Container hat bisher nichts geschrieben."),
    "log_empty": Text(
        "There are no lines: the container wrote none, or it never started.",
        "Es gibt keine Zeilen: Der Container schrieb keine, oder er startete nie.",
    ),
    "log_none": Text(
        "There is no container yet. Once the workspace is launched, its output appears here.",
        "Es gibt noch keinen Container. Ist der Arbeitsplatz gestartet, steht hier seine Ausgabe.",
    ),
    "refresh": Text("Refresh", "Aktualisieren"),
    # Opening a workspace
    "opening_lead": Text(
        "As soon as it runs, this page takes you there.", "Sobald er läuft, geht es von hier aus von selbst weiter."
    ),
    "ending_lead": Text("In a moment you can start it again.", "Gleich kannst du ihn wieder starten."),
    "not_running": Text("This workspace is not running.", "Dieser Arbeitsplatz läuft nicht."),
    "start": Text("Start it", "Starten"),
    "go_there": Text("Go to the workspace", "Zum Arbeitsplatz"),
    **ACCOUNT,
    **SIGN_IN,
    # Errors
    "request_id": Text("Request id", "Anfrage-ID"),
    **SHARING,
    **REST,
}

STATUSES: dict[WorkspaceStatus, Text] = {
    WorkspaceStatus.NOT_CREATED: Text("Not launched yet", "Noch nicht gestartet"),
    WorkspaceStatus.QUEUED: Text("Waiting", "Wartet"),
    WorkspaceStatus.PULLING: Text("Fetching the image", "Lädt das Image"),
    WorkspaceStatus.CREATING: Text("Being created", "Wird angelegt"),
    WorkspaceStatus.STARTING: Text("Starting", "Startet"),
    WorkspaceStatus.PROBING: Text("Almost ready", "Fast bereit"),
    WorkspaceStatus.RUNNING: Text("Running", "Läuft"),
    WorkspaceStatus.PAUSED: Text("Paused", "Angehalten"),
    WorkspaceStatus.STOPPING: Text("Stopping", "Wird beendet"),
    WorkspaceStatus.STOPPED: Text("Stopped", "Beendet"),
    WorkspaceStatus.DELETING: Text("Deleting", "Wird gelöscht"),
    WorkspaceStatus.ERROR: Text("Failed", "Fehlgeschlagen"),
}

STEPS: dict[JobStep, Text] = {
    JobStep.QUEUED: Text("Waiting for its turn", "Wartet, bis er an der Reihe ist"),
    JobStep.CLAIMED: Text("Getting started", "Es geht los"),
    JobStep.PULLING: Text("Fetching the image", "Das Image wird geladen"),
    JobStep.CREATING: Text("Creating the container", "Der Container wird angelegt"),
    JobStep.STARTING: Text("Starting the container", "Der Container startet"),
    JobStep.PROBING: Text("Waiting for its first answer", "Wartet auf seine erste Antwort"),
    JobStep.READY: Text("Ready", "Bereit"),
    JobStep.PAUSING: Text("Pausing the container", "Der Container wird angehalten"),
    JobStep.STOPPING: Text("Stopping the container", "Der Container wird beendet"),
    JobStep.DELETING: Text("Removing the container", "Der Container wird entfernt"),
    JobStep.DONE: Text("Done", "Erledigt"),
    JobStep.RETRYING: Text("Trying again in a moment", "Gleich folgt ein neuer Versuch"),
    JobStep.FAILED: Text("Failed", "Fehlgeschlagen"),
    JobStep.CANCELLED: Text("Cancelled", "Abgebrochen"),
    JobStep.SUPERSEDED: Text("Replaced by a newer request", "Durch eine neuere Anfrage ersetzt"),
}

# What a launch waits for, by the limit's code.
WAITS: dict[str, Text] = {
    "capacity_launches": Text(
        "Others are starting right now. This one follows by itself.", "Gerade starten andere. Dieser folgt von selbst."
    ),
    "capacity_running": Text(
        "The server already runs as many workspaces as allowed. This one starts as soon as somebody stops another.",
        "Auf dem Server laufen so viele Arbeitsplätze, wie erlaubt sind. "
        "Dieser startet, sobald jemand einen anderen beendet.",
    ),
    "capacity_memory": Text(
        "Other workspaces use all of the server's memory. This one starts as soon as somebody stops another.",
        "Der Arbeitsspeicher des Servers ist durch andere Arbeitsplätze belegt. "
        "Dieser startet, sobald jemand einen anderen beendet.",
    ),
    "capacity_cpu": Text(
        "Other workspaces use all of the server's processors. This one starts as soon as somebody stops another.",
        "Die Prozessoren des Servers sind durch andere Arbeitsplätze belegt. "
        "Dieser startet, sobald jemand einen anderen beendet.",
    ),
    "capacity_disk": Text(
        "The server's disk is almost full. This one starts as soon as there is space; tell your operator.",
        "Die Festplatte des Servers ist fast voll. Dieser startet, sobald Platz ist; bitte den Betreiber informieren.",
    ),
}

# Why the platform started a job, unless the workspace's state says so.
BEGUN: dict[JobKind, Text] = {
    JobKind.LAUNCH: Text(
        "It ended by itself and is being restarted.", "Er hatte sich von selbst beendet und wird wieder gestartet."
    ),
    JobKind.PAUSE: Text(
        "Nobody has used it for a while. Opening it wakes it.", "Niemand hat ihn eine Weile benutzt. Öffnen weckt ihn."
    ),
}
BROUGHT_TO_REST = Text("Spawner stops it.", "Spawner beendet ihn.")

# The next idle action, by the warning's name.
AHEAD: dict[str, Text] = {
    "pause": Text(
        "Nobody has used it for a while: it pauses {when}.",
        "Niemand hat ihn eine Weile benutzt: Er wird {when} angehalten.",
    ),
    "stop": Text(
        "Nobody has used it for a while: it stops {when}, and its programs end.",
        "Niemand hat ihn eine Weile benutzt: Er wird {when} beendet, und was darin läuft, endet.",
    ),
    "end": Text(
        "It has almost reached its maximum lifetime: it stops {when}, and its programs end. Save your work.",
        "Seine maximale Laufzeit ist fast erreicht: Er wird {when} beendet, und was darin läuft, endet. "
        "Sichere deine Arbeit.",
    ),
}
NOW = Text("in a moment", "gleich")
MINUTE = Text("in a minute", "in einer Minute")
MINUTES = Text("in {amount} minutes", "in {amount} Minuten")
HOURS = Text("in {amount} hours", "in {amount} Stunden")


def soon(seconds: float, locale: Locale) -> str:
    """Format a duration in words, rounded down."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return NOW.format(locale)
    if minutes == 1:
        return MINUTE.format(locale)
    return HOURS.format(locale, amount=minutes // 60) if minutes >= 120 else MINUTES.format(locale, amount=minutes)


def date(at: datetime, locale: Locale) -> str:
    """Format a time to the minute, in UTC, in the language's notation."""
    return at.strftime("%d.%m.%Y, %H:%M" if locale == "de" else "%Y-%m-%d, %H:%M")


def number(value: float, locale: Locale) -> str:
    """Format a number with at most one decimal, in the language's notation."""
    text = f"{value:.1f}".removesuffix(".0")
    return text.replace(".", ",") if locale == "de" else text


def when(at: datetime) -> str:
    """Format a time in UTC, in one notation for both languages."""
    return at.strftime("%Y-%m-%d %H:%M")
