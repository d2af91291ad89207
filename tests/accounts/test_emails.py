"""One canonical form for each address."""

import string
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.accounts.emails import FORBIDDEN, MAX_LENGTH, domain_of, is_misleading, normalise
from app.accounts.errors import InvalidAddress

ATOM = string.ascii_letters + string.digits + "!#$%&'*+-/=?^_{|}~"
atoms = st.text(ATOM, min_size=1, max_size=20)
labels = st.from_regex(r"[a-z]([a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
plain_addresses = st.builds(
    lambda local, domain: f"{'.'.join(local)}@{'.'.join(domain)}.org",
    st.lists(atoms, min_size=1, max_size=3),
    st.lists(labels, min_size=1, max_size=3),
)
wild_addresses = st.builds(
    "{}@{}.org".format,
    st.text(min_size=1, max_size=20),
    st.text(st.characters(categories=["L", "M", "N", "P"]), min_size=1, max_size=12),
)


def normalised(raw: str) -> str:
    """The canonical form; inputs that have none are no example."""
    try:
        return normalise(raw)
    except InvalidAddress:
        assume(False)
        raise


@given(plain_addresses | wild_addresses)
def test_normalising_again_changes_nothing(raw: str) -> None:
    once = normalised(raw)
    assert normalise(once) == once


@given(plain_addresses | wild_addresses | st.text(max_size=60))
def test_nothing_that_a_mail_server_takes_for_syntax_gets_through(raw: str) -> None:
    address = normalised(raw)
    assert address.count("@") == 1
    assert not FORBIDDEN & set(address)
    assert not any(unicodedata.category(character)[0] in "CZ" for character in address)
    assert len(address.encode()) <= MAX_LENGTH
    assert domain_of(address).isascii()


@given(plain_addresses)
def test_letter_case_and_width_make_no_difference(raw: str) -> None:
    wide = "".join(chr(ord(character) + 0xFEE0) if character.isalnum() else character for character in raw)
    assert {normalised(variant) for variant in (raw, raw.upper(), raw.title(), wide, f"  {raw} ")} == {normalised(raw)}


@given(
    st.text(st.characters(min_codepoint=0xC0, max_codepoint=0x24F, categories=["Ll", "Lu"]), min_size=1, max_size=12)
)
def test_composed_and_decomposed_letters_make_no_difference(local: str) -> None:
    raw = f"{local}@example.org"
    assert normalised(unicodedata.normalize("NFD", raw)) == normalised(raw)


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        ("Alice@Example.ORG", "alice@example.org"),
        ("alice＠example．org", "alice@example.org"),
        ("alice@example。org", "alice@example.org"),
        ("bob@Müller.example", "bob@xn--mller-kva.example"),
        ("bob@XN--MLLER-KVA.example", "bob@xn--mller-kva.example"),
        ("bob@straße.example", "bob@xn--strae-oqa.example"),
        ("\u212aelvin@example.org", "kelvin@example.org"),
        ("o'brien+lab@example.org", "o'brien+lab@example.org"),
        ("Jörg@example.org", "jörg@example.org"),
    ],
)
def test_look_alikes_become_the_address_they_look_like(raw: str, address: str) -> None:
    assert normalise(raw) == address


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "alice",
        "@example.org",
        "alice@",
        "alice@@example.org",
        "alice@example.org@evil.org",
        "alice@example.org,mallory@evil.org",
        "alice@example.org，mallory",
        "alice@example.org mallory@evil.org",
        "alice@example.org\r\nBcc: mallory@evil.org",
        "alice\n@example.org",
        "alice\x00@example.org",
        '"alice"@example.org',
        '"a@b"@example.org',
        "Alice <alice@example.org>",
        "alice@[127.0.0.1]",
        "alice@127.0.0.1",
        "alice@localhost",
        "al\u200bice@example.org",
        "al\u202eice@example.org",
        "a" * 65 + "@example.org",
        "alice@" + "a." * 130 + "org",
        "\ud800@example.org",
        "a" * 100_000 + "@example.org",
    ],
)
def test_what_is_no_plain_address_is_refused(raw: str) -> None:
    with pytest.raises(InvalidAddress):
        normalise(raw)


@pytest.mark.parametrize(
    ("address", "misleading"),
    [
        ("alice@example.org", False),
        ("zoë@example.org", False),
        ("weiß@example.org", False),
        ("анна@example.org", False),
        ("用户@example.org", False),
        ("p\u0430ypal@example.org", True),  # one Cyrillic letter
        ("\u0430\u0440\u0435@example.org", True),  # all Cyrillic
        ("\u03c1aul@example.org", True),  # one Greek letter
    ],
)
def test_letters_of_another_alphabet_that_look_latin_are_marked(address: str, misleading: bool) -> None:
    assert is_misleading(address) == misleading
