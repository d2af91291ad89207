"""Makes foreign text safe to display: one line, no control or bidirectional characters."""


def printable(text: str, length: int | None = None) -> str:
    """Escape control characters, surrogates and characters that change the writing direction.

    The backslash is escaped too, so escapes are unambiguous. The result has at most `length` characters and never cuts
    an escape.
    """
    kept: list[str] = []
    room = length if length is not None else 10 * len(text)
    for character in text[:length]:
        plain = character.isprintable() and character != "\\"
        spelled = character if plain else character.encode("unicode_escape").decode()
        room -= len(spelled)
        if room < 0:
            break
        kept.append(spelled)
    return "".join(kept)
