"""Texts of the sign-in pages that are not in `pages.py`: waiting for the link, and its destination."""

from app.core.i18n import Text

SIGN_IN: dict[str, Text] = {
    "address_cut": Text(
        "The address that you came with is too long to be kept. You arrive at the workspace's start; follow your link "
        "again from there.",
        "Die Adresse, mit der du gekommen bist, ist zu lang, um gemerkt zu werden. Du kommst am Anfang des "
        "Arbeitsplatzes an; folge deinem Link dann noch einmal.",
    ),
    "wait_used": Text("Your link was used", "Dein Link wurde benutzt"),
    "wait_used_lead": Text(
        "It was opened in another browser or on another device. You are signed in there, and not here.",
        "Er wurde in einem anderen Browser oder auf einem anderen Gerät geöffnet. Dort bist du angemeldet, hier nicht.",
    ),
    "wait_used_next": Text(
        "You can close this page. To sign in here as well, ask for another link and open it in this browser.",
        "Du kannst diese Seite schließen. Um dich auch hier anzumelden, fordere noch einen Link an und öffne ihn in "
        "diesem Browser.",
    ),
    "wait_over": Text("This link is over", "Dieser Link ist abgelaufen"),
    "wait_over_lead": Text(
        "No link that was asked for in this browser is good any more. Ask for a new one to sign in.",
        "Kein Link, der in diesem Browser angefordert wurde, gilt noch. Fordere einen neuen an, um dich anzumelden.",
    ),
    "wait_delayed": Text(
        "Mail is delayed: the mail server takes none at the moment. We keep trying for an hour. "
        "A link works for its whole time from when it is sent; you need not ask again.",
        "Mails verspäten sich: Der Mailserver nimmt gerade keine an. Wir versuchen es eine Stunde lang weiter. "
        "Ein Link gilt vom Versand an seine ganze Zeit; du musst keinen neuen anfordern.",
    ),
    "wait_failed": Text("No mail could be sent", "Es ließ sich keine Mail verschicken"),
    "wait_failed_lead": Text(
        "The mail server took no mail for an hour. Ask for a new link, or tell your operator.",
        "Der Mailserver hat eine Stunde lang keine Mail angenommen. "
        "Fordere einen neuen Link an, oder sag dem Betreiber Bescheid.",
    ),
    "wait_newest": Text(
        "Several mails were asked for with this address in the last hour, by you or by others. No further one is sent. "
        "If the address can sign in here, open the newest of them: its link is good again.",
        "Für diese Adresse wurden in der letzten Stunde mehrere Mails angefordert, von dir oder von anderen. Es kommt "
        "keine weitere. Wenn sich die Adresse hier anmelden kann, öffne die neueste davon: Ihr Link gilt wieder.",
    ),
    "limited_here_one": Text(
        "Too many links were asked for from this place, which may be a whole network. No mail was sent. "
        "Try again in a minute, or ask your operator to allow more.",
        "Von diesem Ort, vielleicht einem ganzen Netz, wurden zu viele Links angefordert. Es wurde keine Mail "
        "verschickt. Versuche es in einer Minute noch einmal, oder bitte den Betreiber, mehr zu erlauben.",
    ),
    "limited_here": Text(
        "Too many links were asked for from this place, which may be a whole network. No mail was sent. "
        "Try again in {minutes} minutes, or ask your operator to allow more.",
        "Von diesem Ort, vielleicht einem ganzen Netz, wurden zu viele Links angefordert. Es wurde keine Mail "
        "verschickt. Versuche es in {minutes} Minuten noch einmal, oder bitte den Betreiber, mehr zu erlauben.",
    ),
}
