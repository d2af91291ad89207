"""Texts about sharing."""

from app.core.i18n import Text

SHARING: dict[str, Text] = {
    # On a card
    "share": Text("Share", "Teilen"),
    "shared_one": Text("Shared with one person", "Mit einer Person geteilt"),
    "shared": Text("Shared with {people} people", "Mit {people} Personen geteilt"),
    "admin_may": Text(
        "Admin {email} may enter until {until} UTC. Reason: {reason}",
        "{email} darf als Administrator bis {until} UTC hinein. Grund: {reason}",
    ),
    "admin_could": Text(
        "Admin {email} could enter until {until} UTC. Reason: {reason}",
        "{email} durfte als Administrator bis {until} UTC hinein. Grund: {reason}",
    ),
    "misleading": Text(
        "{address} (letters of several alphabets: check who this is)",
        "{address} (Buchstaben mehrerer Schriften: prüfe, wer das ist)",
    ),
    # The page of one workspace
    "share_title": Text("Share {name}", "{name} teilen"),
    "share_lead": Text(
        "People with access can do everything in this workspace that you can, also with your files. They cannot stop, "
        "restart, delete or share it, nor see its log.",
        "Wer Zugang hat, kann in diesem Arbeitsplatz alles, was du kannst, auch mit deinen Dateien. Nur du kannst ihn "
        "beenden, neu starten, löschen oder teilen und sein Protokoll sehen.",
    ),
    "share_address": Text("With one person", "Mit einer Person"),
    "share_address_lead": Text(
        "They sign in with this address and find the workspace on their home page. No mail is sent: tell them.",
        "Sie meldet sich mit dieser Adresse an und findet den Arbeitsplatz auf ihrer Startseite. Eine Mail wird nicht "
        "verschickt: Sag ihr Bescheid.",
    ),
    "share_now": Text("Share", "Teilen"),
    "share_link": Text("By a link", "Mit einem Link"),
    "share_link_lead": Text(
        "Anyone who has the link and an account can enter, until it expires.",
        "Wer den Link und ein Konto hat, kann hinein, bis er abläuft.",
    ),
    "share_hours": Text("Valid for", "Gilt"),
    "hours_one": Text("one hour", "eine Stunde"),
    "hours": Text("{hours} hours", "{hours} Stunden"),
    "days_one": Text("one day", "einen Tag"),
    "days": Text("{days} days", "{days} Tage"),
    "share_make_link": Text("Create a link", "Link erzeugen"),
    "share_new_link": Text(
        "Here is the link. It is shown only once: copy it now.",
        "Hier ist der Link. Er wird nur dieses eine Mal gezeigt: Kopiere ihn jetzt.",
    ),
    "share_who": Text("Who may enter", "Wer hinein darf"),
    "share_nobody": Text("Nobody but you.", "Niemand außer dir."),
    "share_until": Text("until {until} UTC", "bis {until} UTC"),
    "share_by_link": Text("by a link", "mit einem Link"),
    "share_links": Text("Links", "Links"),
    "share_link_of": Text("Link of {made} UTC", "Link vom {made} UTC"),
    "share_link_used_one": Text("let one person in", "ließ eine Person hinein"),
    "share_link_used": Text("let {people} people in", "ließ {people} Personen hinein"),
    "share_end_link": Text(
        "Revoking a link also ends the access of everyone who used it.",
        "Wird ein Link widerrufen, verlieren auch alle den Zugang, die ihn benutzt haben.",
    ),
    "revoke": Text("Revoke", "Widerrufen"),
    "share_admins": Text("Admins", "Administratoren"),
    # Shared with me
    "shared_with_you": Text("Shared with you", "Mit dir geteilt"),
    "shared_by": Text("from {owner}", "von {owner}"),
    "shared_rests": Text("Only its owner can start it.", "Nur wem er gehört, kann ihn starten."),
    "shared_reason": Text("Your reason: {reason}", "Dein Grund: {reason}"),
    "leave": Text("Leave", "Verlassen"),
    "shared_waits": Text(
        "This workspace is shared with you and is not running now. Only its owner can start it; this page then takes "
        "you there.",
        "Dieser Arbeitsplatz ist mit dir geteilt und läuft gerade nicht. Nur wem er gehört, kann ihn starten; dann "
        "geht es von hier aus von selbst weiter.",
    ),
    # Accepting a link
    "accept_title": Text("Enter a shared workspace", "Einen geteilten Arbeitsplatz betreten"),
    "accept_lead": Text(
        "Somebody shares a workspace with you. If you accept, its owner sees your address {email}, and you may enter "
        "until the link expires.",
        "Jemand teilt einen Arbeitsplatz mit dir. Nimmst du an, sieht dessen Besitzer deine Adresse {email}, und du "
        "darfst hinein, bis der Link abläuft.",
    ),
    "accept_care": Text(
        "Enter nothing there that its owner may not see.", "Gib dort nichts ein, was sein Besitzer nicht sehen darf."
    ),
    "accept_button": Text("Accept and open", "Annehmen und öffnen"),
    "accept_sign_in": Text(
        "Somebody shares a workspace with you. Sign in first; you come back here afterwards.",
        "Jemand teilt einen Arbeitsplatz mit dir. Melde dich zuerst an; danach geht es hier weiter.",
    ),
    "accept_incomplete": Text(
        "This link is incomplete, or the page was reloaded. Open the link once more.",
        "Dieser Link ist unvollständig, oder die Seite wurde neu geladen. Öffne den Link noch einmal.",
    ),
    "accept_no_script": Text(
        "Accepting needs JavaScript: the link's secret is kept from the server until you press the button.",
        "Zum Annehmen ist JavaScript nötig: Das Geheimnis im Link erreicht den Server erst, wenn du den Knopf drückst.",
    ),
    "accept_no_answer": Text(
        "The server does not answer. The link is still valid: press the button again in a moment.",
        "Der Server antwortet nicht. Der Link gilt noch: Drücke den Knopf gleich noch einmal.",
    ),
}
