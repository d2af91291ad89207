"""Texts in both languages side by side: a missing translation is a type error."""

from typing import Literal, NamedTuple, get_args

Locale = Literal["en", "de"]
LOCALES: tuple[Locale, ...] = get_args(Locale)


class Text(NamedTuple):
    """One sentence in every language; `format` fills in `{name}`."""

    en: str
    de: str

    def format(self, locale: Locale, **values: object) -> str:
        """Return the text in one language."""
        text: str = getattr(self, locale)
        return text.format(**values) if values else text


def negotiate(accept_language: str, default: Locale) -> Locale:
    """Choose a language by `Accept-Language` (RFC 9110, 12.5.4); malformed parts are ignored."""
    best: tuple[float, int, Locale] | None = None
    for index, part in enumerate(accept_language[:1000].split(",")):
        tag, _, parameter = part.partition(";")
        primary = tag.strip().lower().split("-")[0]
        try:
            quality = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        for locale in LOCALES:
            if quality > 0 and primary in (locale, "*"):
                candidate = (quality, -index, default if primary == "*" else locale)
                if best is None or candidate[:2] > best[:2]:
                    best = candidate
    return best[2] if best else default
