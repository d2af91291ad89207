"""What the pages say, in both languages; templates ask by name."""

from app.i18n import Locale, Text
from app.models import JobStep, WorkspaceStatus

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
        "New here? The same link makes your account.", "Neu hier? Derselbe Link richtet dein Konto ein."
    ),
    "sign_in_next": Text(
        "Sign in to open your workspace. You will be taken there afterwards.",
        "Melde dich an, um deinen Arbeitsplatz zu öffnen. Danach geht es dort weiter.",
    ),
    "email": Text("E-mail address", "E-Mail-Adresse"),
    "email_example": Text("you@example.org", "du@example.org"),
    "send_link": Text("Send me a link", "Link schicken"),
    "invalid_email": Text(
        "This is not a usable e-mail address. Please check it.",
        "Das ist keine brauchbare E-Mail-Adresse. Bitte prüfe sie.",
    ),
    "limited_one": Text(
        "Too many links were asked for. Look into your mailbox, or try again in a minute.",
        "Es wurden zu viele Links angefordert. Sieh in dein Postfach oder versuche es in einer Minute erneut.",
    ),
    "limited": Text(
        "Too many links were asked for. Look into your mailbox, or try again in {minutes} minutes.",
        "Es wurden zu viele Links angefordert. Sieh in dein Postfach oder versuche es in {minutes} Minuten erneut.",
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
    "link_life_one": Text("The link works once, within a minute.", "Der Link gilt einmal und eine Minute lang."),
    "link_life": Text(
        "The link works once, within {minutes} minutes.", "Der Link gilt einmal und {minutes} Minuten lang."
    ),
    "check_mail_nothing": Text(
        "No mail? Look into the spam folder, or check the address and",
        "Keine Mail da? Sieh in den Spam-Ordner, oder prüfe die Adresse und",
    ),
    "try_again": Text("ask for a new link", "fordere einen neuen Link an"),
    "development_mail": Text(
        "This is a development installation: “make inbox” shows the mails that it sends.",
        "Dies ist eine Entwicklungsinstallation: „make inbox“ zeigt die Mails, die sie verschickt.",
    ),
    # Confirm
    "confirm": Text("Confirm your sign-in", "Anmeldung bestätigen"),
    "confirm_lead": Text(
        "Press the button to sign in with the link from your mail.",
        "Drücke den Knopf, um dich mit dem Link aus deiner Mail anzumelden.",
    ),
    "confirm_not_you": Text(
        "You did not ask for a link? Then close this page: nothing happens unless you press the button.",
        "Du hast keinen Link angefordert? Dann schließe diese Seite: Ohne den Knopf geschieht nichts.",
    ),
    "confirm_button": Text("Confirm and sign in", "Bestätigen und anmelden"),
    "confirm_incomplete": Text(
        "This link is incomplete, or the page was reloaded. Open the link from your mail once more.",
        "Dieser Link ist unvollständig, oder die Seite wurde neu geladen. Öffne den Link aus deiner Mail noch einmal.",
    ),
    "confirm_no_answer": Text(
        "The server does not answer. Your link is still good: press the button again in a moment.",
        "Der Server antwortet nicht. Dein Link gilt noch: Drücke den Knopf gleich noch einmal.",
    ),
    "confirm_no_script": Text(
        "Signing in needs JavaScript: the link's secret is kept from the server until you press the button.",
        "Zum Anmelden ist JavaScript nötig: Das Geheimnis im Link erreicht den Server erst, wenn du den Knopf drückst.",
    ),
    "new_link": Text("Ask for a new link", "Neuen Link anfordern"),
    # Home
    "workspaces": Text("Your workspaces", "Deine Arbeitsplätze"),
    "workspaces_lead": Text(
        "Each card is a workspace in a container of your own. It keeps running when you close its tab.",
        "Jede Karte ist ein Arbeitsplatz in einem eigenen Container. Er läuft weiter, wenn du seinen Tab schließt.",
    ),
    "welcome": Text("Welcome to Spawner", "Willkommen bei Spawner"),
    "welcome_launch": Text(
        "Launch a workspace. A container starts for you alone; this page shows how far it is.",
        "Starte einen Arbeitsplatz. Ein Container läuft für dich allein an; diese Seite zeigt, wie weit er ist.",
    ),
    "welcome_open": Text(
        "Open it. It appears in a new tab, and nobody but you can reach it.",
        "Öffne ihn. Er erscheint in einem neuen Tab, und niemand außer dir kommt hinein.",
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
    "restart": Text("Restart", "Neu starten"),
    "restart_keeps": Text(
        "The container is replaced by a new one. What runs in it ends; files in its folder are kept.",
        "Der Container wird durch einen neuen ersetzt. Was darin läuft, endet; Dateien in seinem Ordner bleiben.",
    ),
    "restart_loses": Text(
        "The container is replaced by a new one. What runs in it ends, and nothing in it is kept.",
        "Der Container wird durch einen neuen ersetzt. Was darin läuft, endet, und nichts darin bleibt erhalten.",
    ),
    "restart_now": Text("Restart now", "Jetzt neu starten"),
    "failed": Text("That did not work.", "Das hat nicht geklappt."),
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
    # Opening a workspace
    "opening_lead": Text(
        "As soon as it runs, this page takes you there.", "Sobald er läuft, geht es von hier aus von selbst weiter."
    ),
    "not_running": Text("This workspace is not running.", "Dieser Arbeitsplatz läuft nicht."),
    "start": Text("Start it", "Starten"),
    "go_there": Text("Go to the workspace", "Zum Arbeitsplatz"),
    # What went wrong
    "request_id": Text("Request id", "Anfrage-ID"),
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
    JobStep.RETRYING: Text("Trying again in a moment", "Gleich folgt ein neuer Versuch"),
    JobStep.FAILED: Text("Failed", "Fehlgeschlagen"),
    JobStep.SUPERSEDED: Text("A newer request took over", "Eine neuere Anfrage hat übernommen"),
}


def number(value: float, locale: Locale) -> str:
    """A number with at most one decimal, as the language writes it."""
    text = f"{value:.1f}".removesuffix(".0")
    return text.replace(".", ",") if locale == "de" else text
