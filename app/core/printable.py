"""Text of other people, as it may be shown: one line, and nothing in it that pretends to be something else."""


def printable(text: str, length: int | None = None) -> str:
    """Escape control characters, surrogates and marks that turn the direction of writing.

    The backslash is escaped too, so that nothing looks like an escape that is none. The result has at most `length`
    characters; no escape is cut in two.
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
