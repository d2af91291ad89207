"""Names a device from its User-Agent, well enough for its owner to recognise it."""

from app.core.i18n import Locale, Text

# The first match wins: most browsers also contain the names of older ones.
PROGRAMS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("Wget/", "Wget"),
    ("python-", "Python"),
    ("Python", "Python"),
    ("Go-http-client/", "Go"),
    ("PostmanRuntime/", "Postman"),
)
SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)
BOTH = Text("{program} on {system}", "{program} auf {system}")
UNKNOWN = Text("Unknown device", "Unbekanntes Gerät")


def name_device(user_agent: str, locale: Locale) -> str:
    """Return a name such as “Firefox on Linux”; it never contains client input."""
    program = next((name for mark, name in PROGRAMS if mark in user_agent), None)
    system = next((name for mark, name in SYSTEMS if mark in user_agent), None)
    if program and system:
        return BOTH.format(locale, program=program, system=system)
    return program or system or UNKNOWN.format(locale)
