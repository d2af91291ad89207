"""Mail addresses: the mailbox to write to, and the normalised form that identifies accounts.

Neither contains mail syntax.
"""

import unicodedata

from email_validator import EmailNotValidError, validate_email

from app.accounts.errors import InvalidAddress

MAX_LENGTH = 254
# Bounds the work of Unicode normalisation.
MAX_INPUT = 1000
# Commas and quotes can turn one address into two, or into another; the rest is syntax of mail headers.
FORBIDDEN = frozenset(',;:"`<>()[]\\')


def normalise(raw: str) -> str:
    """Normalise an address: fold case and compatibility characters, domain in ASCII (IDNA).

    Accounts, limits and shares compare this form; mail is never sent to it. Letters that are neither case nor width
    variants stay distinct, such as `ß` and `ss`: they belong to two people. Idempotent. Raises `InvalidAddress`; does
    no DNS lookup.
    """
    local, domain = read_mailbox(raw).rsplit("@", 1)
    address = f"{_fold(local)}@{domain}"
    if len(address.encode()) > MAX_LENGTH:
        raise InvalidAddress
    return address


def read_mailbox(raw: str) -> str:
    """Return the address to write to: as typed, NFKC-normalised, domain in ASCII (IDNA).

    Keeps letter case, which only the receiving server can interpret. Idempotent. Raises `InvalidAddress`; does no DNS
    lookup.
    """
    if len(raw) > MAX_INPUT:
        raise InvalidAddress
    text = unicodedata.normalize("NFKC", raw).strip(" ")
    local, at, domain = text.partition("@")
    domain = domain.replace("。", ".")  # East Asian keyboards type this dot; IDNA accepts it
    if not at or "@" in domain or not all(map(_is_plain, local + domain)):
        raise InvalidAddress
    try:
        parsed = validate_email(
            f"{local}@{domain}",
            check_deliverability=False,
            strict=True,  # SMTP's limit: 64 bytes before the @
            allow_smtputf8=True,
            allow_quoted_local=False,
            allow_domain_literal=False,
            allow_display_name=False,
        )
    except (EmailNotValidError, UnicodeError) as error:
        raise InvalidAddress from error
    mailbox = f"{parsed.local_part}@{parsed.ascii_domain}"
    if len(mailbox.encode()) > MAX_LENGTH:
        raise InvalidAddress
    return mailbox


def domain_of(address: str) -> str:
    """Return the domain of a normalised address, in ASCII."""
    return address.rpartition("@")[2]


def masked(address: str) -> str:
    """Mask an address: its owner recognises it, others cannot read it."""
    return f"{address[0]}•••@{domain_of(address)}"


def is_misleading(address: str) -> bool:
    """Return whether the local part mixes scripts, or is of another script but looks Latin.

    The domain is ASCII already. Look-alikes are those of Unicode's confusables (UTS 39).
    """
    local = address.partition("@")[0]
    if local.isascii():
        return False
    # The tables are slow to load, and few addresses need them.
    from confusable_homoglyphs import confusables

    if confusables.is_dangerous(local):
        return True
    alike = confusables.is_confusable(local, greedy=True, preferred_aliases=["latin", "common"]) or []
    looks_latin = {found["character"] for found in alike if any(like["c"].isascii() for like in found["homoglyphs"])}
    return all(character in looks_latin for character in local if not character.isascii())


def _fold(text: str) -> str:
    """Apply Unicode's simple case folding, composed. Repeats: folding can denormalise, and normalising can restore
    capitals.
    """
    for _ in range(2):
        text = unicodedata.normalize("NFKC", "".join(map(_fold_letter, unicodedata.normalize("NFKC", text))))
    return text


def _fold_letter(letter: str) -> str:
    """Fold one letter to one letter: `casefold` expands some, such as `ß` to `ss`."""
    folded = letter.casefold()
    return folded if len(folded) == 1 else letter.lower()


def _is_plain(character: str) -> bool:
    """Return whether the character is printable ASCII without syntax, or a non-ASCII letter, mark or digit."""
    if character.isascii():
        return " " < character < "\x7f" and character not in FORBIDDEN
    return unicodedata.category(character)[0] in "LMN"
