"""Removing what nobody may read from texts that come out of containers, before they are kept or shown."""

import re
from urllib.parse import parse_qs, quote, unquote, urlsplit

from app.auth.keys import secrets_now
from app.settings import Settings

REMOVED = "[removed]"
# Shorter ones occur by chance; their absence would give them away.
SHORTEST = 4
# C0 and C1 without tab and line feed, and DEL: what terminals obey and PostgreSQL refuses.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Redactor:
    """Knows the platform's secrets, as they are and as addresses spell them."""

    def __init__(self, settings: Settings) -> None:
        secrets = set(secrets_now(settings))
        for url in (settings.database_url, settings.redis_url, settings.smtp_url):
            parts = urlsplit(url)
            for spelled in (parts.password or "", *parse_qs(parts.query).get("password", [])):
                secrets |= {spelled, unquote(spelled), quote(unquote(spelled), safe="")}
        # The longest first: a secret may begin with another one.
        known = sorted((secret for secret in secrets if len(secret) >= SHORTEST), key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, known)))

    def redact(self, text: str) -> str:
        """The text without secrets; a control character other than tab and line feed becomes U+FFFD."""
        return _CONTROL.sub("\ufffd", self._secrets.sub(REMOVED, text))
