"""Mail addresses: the form that mail goes to, and the one that accounts are told apart by.

Neither holds anything that a mail server could take for syntax.
"""

import unicodedata

from email_validator import EmailNotValidError, validate_email

from app.accounts.errors import InvalidAddress

MAX_LENGTH = 254
# Bounds the work that Unicode normalisation can be made to do.
MAX_INPUT = 1000
# Commas and quotes make one address two, or another's; the rest is syntax of mail headers.
FORBIDDEN = frozenset(',;:"`<>()[]\\')


def normalise(raw: str) -> str:
    """The folded form of an address: look-alike characters and letter case folded, the domain in ASCII (IDNA).

    Accounts, limits and shares compare it, and no mail is addressed with it. Two letters that no keyboard and no letter
    case makes of each other stay two, as `ß` and `ss` do: their owners are two people. Applying it again changes
    nothing. Raises `InvalidAddress`; never looks the domain up.
    """
    local, domain = read_mailbox(raw).rsplit("@", 1)
    address = f"{_fold(local)}@{domain}"
    if len(address.encode()) > MAX_LENGTH:
        raise InvalidAddress
    return address


def read_mailbox(raw: str) -> str:
    """The address to write to: as it was typed, composed and of normal width (NFKC), the domain in ASCII (IDNA).

    Letter case stays, as only the server behind the domain knows what it means. Applying it again changes nothing.
    Raises `InvalidAddress`; never looks the domain up.
    """
    if len(raw) > MAX_INPUT:
        raise InvalidAddress
    text = unicodedata.normalize("NFKC", raw).strip(" ")
    local, at, domain = text.partition("@")
    domain = domain.replace("。", ".")  # what an East Asian keyboard types there, and IDNA takes for the dot
    if not at or "@" in domain or not all(map(_is_plain, local + domain)):
        raise InvalidAddress
    try:
        parsed = validate_email(
            f"{local}@{domain}",
            check_deliverability=False,
            strict=True,  # 64 bytes at most before the @, as SMTP has it
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
    """The domain of a normalised address, in ASCII."""
    return address.rpartition("@")[2]


def masked(address: str) -> str:
    """An address as those may see it who may not know it: its owner recognises it."""
    return f"{address[0]}•••@{domain_of(address)}"


def is_misleading(address: str) -> bool:
    """Whether the part before the @ mixes alphabets, or is of another one but could be read as Latin.

    The domain is ASCII already. Look-alikes are those of Unicode's list (UTS 39).
    """
    local = address.partition("@")[0]
    if local.isascii():
        return False
    # Its tables take a moment to load, and few addresses need them.
    from confusable_homoglyphs import confusables

    if confusables.is_dangerous(local):
        return True
    alike = confusables.is_confusable(local, greedy=True, preferred_aliases=["latin", "common"]) or []
    looks_latin = {found["character"] for found in alike if any(like["c"].isascii() for like in found["homoglyphs"])}
    return all(character in looks_latin for character in local if not character.isascii())


def _fold(text: str) -> str:
    """Unicode's simple case folding, composed: folding can denormalise, and normalising can bring capitals back."""
    for _ in range(2):
        text = unicodedata.normalize("NFKC", "".join(map(_fold_letter, unicodedata.normalize("NFKC", text))))
    return text


def _fold_letter(letter: str) -> str:
    """One letter for one: `casefold` would make two of some, as `ss` of `ß`."""
    folded = letter.casefold()
    return folded if len(folded) == 1 else letter.lower()


def _is_plain(character: str) -> bool:
    """Printable ASCII apart from syntax; beyond ASCII, only letters, marks and digits."""
    if character.isascii():
        return " " < character < "\x7f" and character not in FORBIDDEN
    return unicodedata.category(character)[0] in "LMN"
