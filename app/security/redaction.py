"""Removes secrets from container output before it is stored or shown."""

import re
from urllib.parse import parse_qs, quote, unquote, urlsplit

from app.core.settings.model import Settings
from app.security.keyring import Key, Keyring

REMOVED = "[removed]"
# Shorter secrets occur by chance; their absence would reveal them.
MIN_LENGTH = 4
# C0 and C1 without tab and line feed, and DEL: terminals obey them, PostgreSQL rejects NUL.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Redactor:
    """Knows the platform's secrets, raw and URL-encoded. Follows the keyring.

    Secrets removed from the keyring are redacted until the process ends.
    """

    def __init__(self, settings: Settings) -> None:
        self._keyring = Keyring(settings)
        self._seen: list[Key] = []
        self._known: set[str] = set()
        self._pattern = _any_of(self._known)
        for url in (settings.database_url, settings.database_owner_url, settings.redis_url, settings.smtp_url):
            parts = urlsplit(url)
            for spelled in (parts.password or "", *parse_qs(parts.query).get("password", [])):
                self._known |= {spelled, unquote(spelled), quote(unquote(spelled), safe="")}

    def redact(self, text: str) -> str:
        """Return the text without secrets; control characters other than tab and line feed become U+FFFD."""
        keys = self._keyring()
        if keys is not self._seen:
            self._known |= {key.secret for key in keys}
            self._pattern, self._seen = _any_of(self._known), keys
        cleaned = self._pattern.sub(REMOVED, text)
        return cleaned if cleaned.isprintable() else _CONTROL.sub("\ufffd", cleaned)


def _any_of(secrets: set[str]) -> re.Pattern[str]:
    """Build a pattern of all secrets of sufficient length, longest first, as one may prefix another. Without any, it
    never matches.
    """
    known = sorted((secret for secret in secrets if len(secret) >= MIN_LENGTH), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, known)) or r"(?!)")
