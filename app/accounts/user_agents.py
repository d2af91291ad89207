"""What a User-Agent says about a device, in plain words: enough to know one's own again."""

from app.core.i18n import Locale, Text

# The first that fits: most of them call themselves by the older ones' names, too.
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
    """Such as “Firefox on Linux”; never a part of what the client sent."""
    program = next((name for mark, name in PROGRAMS if mark in user_agent), None)
    system = next((name for mark, name in SYSTEMS if mark in user_agent), None)
    if program and system:
        return BOTH.format(locale, program=program, system=system)
    return program or system or UNKNOWN.format(locale)
