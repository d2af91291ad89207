"""Access tokens and keyed hashes."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.auth.tokens import PURPOSES, InvalidToken, Tokens, new_token
from app.settings import Settings

SECRET = "a secret of the tests 0123456789 abcdefghij"


def make_tokens(**changes: Any) -> Tokens:
    return Tokens(Settings(_env_file=None, secret_key=SECRET, **changes))


def forge(tokens: Tokens, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token signed with the right key, with changed claims or header; a claim of None is left out."""
    genuine = tokens.issue(uuid4(), uuid4(), is_admin=False)
    claims = jwt.decode(genuine, options={"verify_signature": False}) | changes
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, tokens._private, "ES256", headers=jwt.get_unverified_header(genuine) | (header or {}))


def test_an_issued_token_reads_back() -> None:
    tokens, user, session = make_tokens(), uuid4(), uuid4()
    access = tokens.read(tokens.issue(user, session, is_admin=True))
    assert (access.user_id, access.session_id, access.is_admin) == (user, session, True)


def test_it_carries_the_claims_of_the_contract() -> None:
    token = make_tokens().issue(uuid4(), uuid4(), is_admin=False)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert set(claims) == {"iss", "aud", "sub", "jti", "sid", "iat", "exp", "is_admin"}
    assert claims["exp"] - claims["iat"] == 3600
    assert jwt.get_unverified_header(token)["alg"] == "ES256"


def test_processes_with_one_secret_read_each_others_tokens() -> None:
    assert make_tokens().read(make_tokens().issue(uuid4(), uuid4(), is_admin=False))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere.example.org"},
        {"aud": "another-api"},
        {"aud": None},
        {"iss": None},
        {"sub": "not an id"},
        {"sub": None},
        {"sid": None},
        {"sid": 7},
        {"jti": None},
        {"exp": None},
        {"exp": int((datetime.now(UTC) - timedelta(seconds=5)).timestamp())},
        {"iat": int((datetime.now(UTC) + timedelta(hours=1)).timestamp())},
        {"header": {"kid": "another"}},
        {"header": {"typ": "JWT"}},
        {"header": {"jku": "https://evil.example.org/keys"}},
    ],
    ids=str,
)
def test_a_token_with_another_claim_or_header_is_refused(changes: dict[str, Any]) -> None:
    tokens = make_tokens()
    with pytest.raises(InvalidToken):
        tokens.read(forge(tokens, **changes))


def test_a_token_of_another_secret_is_refused() -> None:
    other = Tokens(Settings(_env_file=None, secret_key=SECRET[::-1]))
    with pytest.raises(InvalidToken):
        make_tokens().read(other.issue(uuid4(), uuid4(), is_admin=True))


def test_our_key_id_on_another_key_is_refused() -> None:
    tokens = make_tokens()
    genuine = tokens.issue(uuid4(), uuid4(), is_admin=False)
    claims, header = jwt.decode(genuine, options={"verify_signature": False}), jwt.get_unverified_header(genuine)
    with pytest.raises(InvalidToken):
        tokens.read(jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), "ES256", headers=header))


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_an_unsigned_token_is_refused() -> None:
    tokens = make_tokens()
    genuine = tokens.issue(uuid4(), uuid4(), is_admin=False)
    header = jwt.get_unverified_header(genuine) | {"alg": "none"}
    for signature in ("", genuine.rsplit(".", 1)[1]):
        with pytest.raises(InvalidToken):
            tokens.read(f"{part(header)}.{genuine.split('.')[1]}.{signature}")


def test_the_public_key_is_no_hmac_secret() -> None:
    tokens = make_tokens()
    genuine = tokens.issue(uuid4(), uuid4(), is_admin=False)
    public = tokens._public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signing = f"{part(jwt.get_unverified_header(genuine) | {'alg': 'HS256'})}.{genuine.split('.')[1]}"
    # By hand: the library refuses to make such a token.
    signature = base64.urlsafe_b64encode(hmac.digest(public, signing.encode(), "sha256")).rstrip(b"=")
    with pytest.raises(InvalidToken):
        tokens.read(f"{signing}.{signature.decode()}")


@pytest.mark.parametrize("junk", ["", ".", "a.b.c", "Bearer x", "\ud800", "é.é.é", "a" * 5000])
def test_junk_is_refused(junk: str) -> None:
    with pytest.raises(InvalidToken):
        make_tokens().read(junk)


def test_a_hash_depends_on_purpose_and_secret() -> None:
    token = new_token()
    hashes = {make_tokens().hash(purpose, token) for purpose in PURPOSES}
    hashes.add(Tokens(Settings(_env_file=None, secret_key=SECRET[::-1])).hash("link", token))
    assert len(hashes) == len(PURPOSES) + 1
    assert make_tokens().hash("link", token) == make_tokens().hash("link", token)


def test_tokens_are_long_and_never_alike() -> None:
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert {len(token) for token in made} == {43}
