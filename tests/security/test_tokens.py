"""Access tokens and keyed hashes."""

import base64
import hmac
import json
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from app.core import clock
from app.core.settings.model import Settings
from app.security.errors import InvalidToken
from app.security.keyring import Key, rotate
from app.security.tokens import MAX_LENGTH, PURPOSES, Tokens, new_token

SECRET = "a secret of the tests 0123456789 abcdefghij"
KEY = Key(SECRET)
OTHER = ec.generate_private_key(ec.SECP256R1())
OTHER_JWK = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(OTHER.public_key()))


@cache
def make_tokens() -> Tokens:
    return Tokens(Settings(_env_file=None, secret_key=SECRET))


@cache
def good() -> str:
    return make_tokens().issue(uuid4(), uuid4(), is_admin=False)


def forge(*, header: dict[str, Any] | None = None, key: Any = KEY.private, **changes: Any) -> str:
    """A token signed with the right key, with changed claims or header; a claim of None is left out."""
    claims = jwt.decode(good(), options={"verify_signature": False}) | changes
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, "ES256", headers=jwt.get_unverified_header(good()) | (header or {}))


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def by_hand(header: dict[str, Any], secret: bytes | None) -> str:
    """What the library refuses to make: a header of any kind, over an HMAC or no signature."""
    signing = f"{part(jwt.get_unverified_header(good()) | header)}.{good().split('.')[1]}"
    if secret is None:
        return f"{signing}."
    signature = base64.urlsafe_b64encode(hmac.digest(secret, signing.encode(), "sha256")).rstrip(b"=")
    return f"{signing}.{signature.decode()}"


def public(encoding: Encoding) -> bytes:
    return KEY.public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


def after(**delta: float) -> int:
    return int((clock.source() + timedelta(**delta)).timestamp())


def forgeries() -> Iterator[tuple[str, str]]:
    """Everything that must be refused, by name."""
    head, body, signature = good().split(".")
    yield from {
        "alg none": by_hand({"alg": "none"}, None),
        "alg None, with the signature": f"{part({'alg': 'None'})}.{body}.{signature}",
        "HS256 with the PEM": by_hand({"alg": "HS256"}, public(Encoding.PEM)),
        "HS256 with the PEM, stripped": by_hand({"alg": "HS256"}, public(Encoding.PEM).strip()),
        "HS256 with the DER": by_hand({"alg": "HS256"}, public(Encoding.DER)),
        "ES256 in name, HMAC in truth": by_hand({}, public(Encoding.PEM)),
        "another key, our kid": forge(key=OTHER),
        "another key in jwk": forge(key=OTHER, header={"jwk": OTHER_JWK}),
        "another key behind jku": forge(key=OTHER, header={"jku": "https://evil.example.org/keys"}),
        "a header that names our own key": forge(header={"x5c": ["MIIB"]}),
        "crit": forge(header={"crit": ["exp"]}),
        "b64 in crit": forge(header={"b64": True, "crit": ["b64"]}),
        "kid unknown": forge(header={"kid": "0" * 16}),
        "kid a path": forge(header={"kid": "../../dev/null"}),
        "typ JWT": forge(header={"typ": "JWT"}),
        "typ missing": forge(header={"typ": None}),
        "no signature": f"{head}.{body}.",
        "signature stripped": f"{head}.{body}",
        "signature of zeros": f"{head}.{body}.{'A' * 86}",
        "signature spelt differently": good()[:-1] + chr(ord(good()[-1]) + 1),
        "trailing garbage": f"{good()}A",
        "trailing dot": f"{good()}.",
        "trailing line": f"{good()}\n",
        "padding": f"{good()}==",
        "duplicate dots": f"{head}..{body}.{signature}",
        "four parts": f"{head}.{body}.{signature}.{signature}",
        "huge": forge(pad="x" * MAX_LENGTH),
        "huge and junk": "a" * 10_000_000,
        "empty": "",
        "dots": "..",
        "surrogate": "\ud800",
        "not ASCII": "é.é.é",
    }.items()


CLAIMS: dict[str, dict[str, Any]] = {
    "iss other": {"iss": "https://elsewhere.example.org"},
    "aud other": {"aud": "another-api"},
    "aud among others": {"aud": ["spawner-api", "another-api"]},
    "sub no id": {"sub": "alice"},
    "sid a number": {"sid": 7},
    "expired": {"exp": after(seconds=-1)},
    "exp now": {"exp": after()},
    "exp a float": {"exp": 9e99},
    "exp true": {"exp": True},
    "exp text": {"exp": "4102444800"},
    "iat ahead": {"iat": after(days=1)},
    "iat text": {"iat": "0"},
    "nbf ahead": {"nbf": after(days=1)},
    "nbf text": {"nbf": "soon"},
    **{f"{name} missing": {name: None} for name in ("iss", "aud", "sub", "sid", "jti", "iat", "exp")},
}


def test_an_issued_token_reads_back() -> None:
    tokens, user, session = make_tokens(), uuid4(), uuid4()
    access = tokens.read(tokens.issue(user, session, is_admin=True))
    assert (access.user_id, access.session_id, access.is_admin) == (user, session, True)
    # What the forgeries below start from is good in itself.
    assert tokens.read(forge())
    assert tokens.read(forge(nbf=after(), iat=after(seconds=10)))


def test_it_carries_the_claims_of_the_contract() -> None:
    claims = jwt.decode(good(), options={"verify_signature": False})
    assert set(claims) == {"iss", "aud", "sub", "jti", "sid", "iat", "exp", "is_admin"}
    assert claims["exp"] - claims["iat"] == 3600
    assert jwt.get_unverified_header(good())["alg"] == "ES256"


def test_processes_with_one_secret_read_each_others_tokens() -> None:
    assert Tokens(Settings(_env_file=None, secret_key=SECRET)).read(good())


@pytest.mark.parametrize("token", [pytest.param(token, id=name) for name, token in forgeries()])
def test_a_forged_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        make_tokens().read(token)


@pytest.mark.parametrize("changes", CLAIMS.values(), ids=CLAIMS)
def test_a_token_with_another_claim_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        make_tokens().read(forge(**changes))


@given(st.data())
def test_no_token_with_a_byte_changed_dropped_or_added_is_accepted(data: st.DataObject) -> None:
    token = good()
    index = data.draw(st.integers(0, len(token) - 1))
    new = data.draw(st.characters(max_codepoint=255) | st.sampled_from("AQgwZ_-.= \n"))
    for changed in (
        token[:index] + new + token[index + 1 :],
        token[:index] + token[index + 1 :],
        token[:index] + new + token[index:],
    ):
        if changed != token:
            with pytest.raises(InvalidToken):
                make_tokens().read(changed)


@given(st.integers(0, 2**512 - 1) | st.sampled_from([0, 1]))
def test_no_other_signature_is_accepted(number: int) -> None:
    signature = base64.urlsafe_b64encode(number.to_bytes(64, "big")).rstrip(b"=").decode()
    with pytest.raises(InvalidToken):
        make_tokens().read(f"{good().rpartition('.')[0]}.{signature}")


def test_time_is_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, now = make_tokens(), clock.system()
    monkeypatch.setattr(clock, "source", lambda: now)
    token = tokens.issue(uuid4(), uuid4(), is_admin=False)
    for seconds, fits in ((3598, True), (3600, False), (-25, True), (-40, False)):
        monkeypatch.setattr(clock, "source", lambda seconds=seconds: now + timedelta(seconds=seconds))
        if fits:
            assert tokens.read(token)
            continue
        with pytest.raises(InvalidToken):
            tokens.read(token)


def test_a_token_that_was_read_is_refused_once_its_key_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"
    path.write_text(f"{SECRET}\n")
    tokens = Tokens(Settings(_env_file=None, secret_key_file=path))
    token = tokens.issue(uuid4(), uuid4(), is_admin=False)
    read = tokens.read(token)
    rotate(path, 2)
    assert tokens.read(token) == read
    rotate(path, 1)
    with pytest.raises(InvalidToken):
        tokens.read(token)


def test_a_token_that_was_read_makes_no_other_one_good() -> None:
    tokens = Tokens(Settings(_env_file=None, secret_key=SECRET))
    tokens.read(good())
    head, payload, signature = good().split(".")
    other = forge(is_admin=True).split(".")
    for forged in (f"{head}.{other[1]}.{signature}", f"{head}.{payload}.{other[2]}"):
        with pytest.raises(InvalidToken):
            tokens.read(forged)


def test_a_signature_is_verified_once_and_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.security.tokens.MAX_VERIFIED", 2)
    tokens = Tokens(Settings(_env_file=None, secret_key=SECRET))
    first, *others = [tokens.issue(uuid4(), uuid4(), is_admin=False) for _ in range(3)]
    assert tokens.read(first) is tokens.read(first)
    read = tokens.read(first)
    for token in others:
        tokens.read(token)
    assert tokens.read(first) == read
    assert tokens.read(first) is not read


def test_a_hash_depends_on_purpose_and_secret() -> None:
    token = new_token()
    hashes = {make_tokens().hash(purpose, token) for purpose in PURPOSES}
    hashes |= {base64.urlsafe_b64decode(make_tokens().derive(use, token)[0] + "=") for use in ("family", "access")}
    hashes.add(Tokens(Settings(_env_file=None, secret_key=SECRET[::-1])).hash("link", token))
    assert len(hashes) == len(PURPOSES) + 3
    assert make_tokens().hashes("link", token) == [make_tokens().hash("link", token)]


def test_tokens_are_long_and_never_alike() -> None:
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert {len(token) for token in made} == {43}
