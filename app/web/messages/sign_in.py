"""Texts of the sign-in pages that are not in `pages.py`: waiting for the link, and its destination."""

from app.core.i18n import Text

SIGN_IN: dict[str, Text] = {
    "address_cut": Text(
        "The address in your link is too long to be kept during sign-in. You arrive at the workspace's first page; "
        "follow your link again then.",
        "Die Adresse in deinem Link ist zu lang, um bei der Anmeldung erhalten zu bleiben. Du kommst auf der ersten "
        "Seite des Arbeitsplatzes an; folge deinem Link dann noch einmal.",
    ),
    "wait_used": Text("Your link was used", "Dein Link wurde benutzt"),
    "wait_used_lead": Text(
        "It was opened in another browser or on another device. You are signed in there, and not here.",
        "Er wurde in einem anderen Browser oder auf einem anderen Gerät geöffnet. Dort bist du angemeldet, hier nicht.",
    ),
    "wait_used_next": Text(
        "You can close this page. To sign in here as well, request another link and open it in this browser.",
        "Du kannst diese Seite schließen. Um dich auch hier anzumelden, fordere noch einen Link an und öffne ihn in "
        "diesem Browser.",
    ),
    "wait_over": Text("This link has expired", "Dieser Link ist abgelaufen"),
    "wait_over_lead": Text(
        "No link that was requested in this browser is still valid. Request a new one to sign in.",
        "Kein Link, der in diesem Browser angefordert wurde, gilt noch. Fordere einen neuen an, um dich anzumelden.",
    ),
    "wait_delayed": Text(
        "Mail is delayed: the mail server accepts none at the moment. We keep trying for an hour. "
        "A link's time starts when it is sent; you need not request another.",
        "Mails verspäten sich: Der Mailserver nimmt gerade keine an. Wir versuchen es eine Stunde lang weiter. "
        "Die Frist eines Links beginnt mit dem Versand; du musst keinen neuen anfordern.",
    ),
    "wait_failed": Text("No mail could be sent", "Es ließ sich keine Mail verschicken"),
    "wait_failed_lead": Text(
        "The mail server accepted no mail for an hour. Request a new link, or tell your operator.",
        "Der Mailserver hat eine Stunde lang keine Mail angenommen. "
        "Fordere einen neuen Link an, oder sag dem Betreiber Bescheid.",
    ),
    "wait_newest": Text(
        "Several mails to this address were requested in the last hour, by you or by others. No further one is sent. "
        "If the address can sign in here, open the newest of them: its link is valid again.",
        "Für diese Adresse wurden in der letzten Stunde mehrere Mails angefordert, von dir oder von anderen. Es kommt "
        "keine weitere. Wenn sich die Adresse hier anmelden kann, öffne die neueste davon: Ihr Link gilt wieder.",
    ),
    "limited_here_one": Text(
        "Too many links were requested from this place, which may be a whole network. No mail was sent. "
        "Try again in a minute, or ask your operator to allow more.",
        "Von diesem Ort, vielleicht einem ganzen Netz, wurden zu viele Links angefordert. Es wurde keine Mail "
        "verschickt. Versuche es in einer Minute noch einmal, oder bitte den Betreiber, mehr zu erlauben.",
    ),
    "limited_here": Text(
        "Too many links were requested from this place, which may be a whole network. No mail was sent. "
        "Try again in {minutes} minutes, or ask your operator to allow more.",
        "Von diesem Ort, vielleicht einem ganzen Netz, wurden zu viele Links angefordert. Es wurde keine Mail "
        "verschickt. Versuche es in {minutes} Minuten noch einmal, oder bitte den Betreiber, mehr zu erlauben.",
    ),
}
