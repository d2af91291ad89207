"""Texts of the account page."""

from app.accounts.principal import Scope
from app.core.i18n import Text

ACCOUNT: dict[str, Text] = {
    "account": Text("Your account", "Dein Konto"),
    "account_link": Text("Account", "Konto"),
    "sessions": Text("Signed in", "Angemeldet"),
    "sessions_lead": Text(
        "The devices that are signed in as you. Times are in UTC. End sessions that you do not recognise.",
        "Die Geräte, die mit deinem Konto angemeldet sind. Zeiten in UTC. Beende Sitzungen, die du nicht kennst.",
    ),
    "session_current": Text("This device", "Dieses Gerät"),
    "session_from": Text("from {address}", "von {address}"),
    "session_since": Text("signed in {when}", "angemeldet am {when}"),
    "session_seen": Text("last used {when}", "zuletzt benutzt am {when}"),
    "session_end": Text("End", "Beenden"),
    "sessions_end_others": Text("Sign out everywhere else", "Überall sonst abmelden"),
    "tokens": Text("Tokens for programs", "Tokens für Programme"),
    "tokens_lead": Text(
        "A program that sends a token as “Bearer” acts as you, within the rights that you choose.",
        "Ein Programm, das ein solches Token als „Bearer“ sendet, handelt für dich, mit den Rechten, die du ihm gibst.",
    ),
    "tokens_none": Text("There are none.", "Es gibt keine."),
    "token_made": Text("The token “{name}” was created.", "Das Token „{name}“ ist angelegt."),
    "token_once": Text(
        "Copy it now: it is not shown again. Anyone who has it can use its rights.",
        "Kopiere es jetzt: Es wird nicht wieder angezeigt. Wer es hat, kann seine Rechte nutzen.",
    ),
    "token_until": Text("valid until {when}", "gültig bis {when}"),
    "token_used": Text("last used {when}", "zuletzt benutzt am {when}"),
    "token_unused": Text("never used", "nie benutzt"),
    "token_revoke": Text("Revoke", "Widerrufen"),
    "token_new": Text("Create a token", "Token anlegen"),
    "token_name": Text("What is it for?", "Wofür ist es?"),
    "token_name_example": Text("for example: nightly backup", "etwa: nächtliche Sicherung"),
    "token_name_wrong": Text(
        "Give the token a name of up to 100 plain characters.",
        "Gib dem Token einen Namen aus höchstens 100 gewöhnlichen Zeichen.",
    ),
    "token_scopes": Text("What may it do?", "Was darf es?"),
    "token_scopes_wrong": Text(
        "Choose at least one right, and one of the lifetimes.", "Wähle mindestens ein Recht und eine der Fristen."
    ),
    "token_days": Text("How long is it valid?", "Wie lange gilt es?"),
    "token_days_of": Text("{days} days", "{days} Tage"),
    "token_make": Text("Create it and show it once", "Anlegen und einmal anzeigen"),
}

SCOPES: dict[Scope, Text] = {
    Scope.READ: Text("read your data", "deine Daten lesen"),
    Scope.WORKSPACES: Text(
        "also launch, stop and delete workspaces and files",
        "auch Arbeitsplätze starten, beenden und mit Dateien löschen",
    ),
    Scope.ADMIN: Text("administer this installation", "diese Installation verwalten"),
}
