"""Secrets that sign people in: random tokens kept as keyed hashes, and access tokens (JWT, RFC 9068's claims).

One secret, SECRET_KEY, is the root. HKDF (RFC 5869) derives from it a key for each purpose, so that a hash made
for a link is worth nothing as a session, and the P-256 key that signs access tokens (ES256, RFC 7518).
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.settings import Settings

ALGORITHM = "ES256"
AUDIENCE = "spawner-api"
# Order of the P-256 group (SEC 2, 2.4.2).
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

Purpose = Literal["link", "session", "handoff", "workspace", "share", "limit"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


@dataclass(frozen=True, slots=True)
class Access:
    """What a valid access token says. Whether its session still lives is the database's to say."""

    user_id: UUID
    session_id: UUID
    is_admin: bool


class InvalidToken(Exception):
    """The token is not one of ours, or its time is over."""


def new_token() -> str:
    """256 random bits, as 43 URL-safe characters."""
    return secrets.token_urlsafe(32)


class Tokens:
    """Makes and checks tokens. Holds keys: never log it."""

    def __init__(self, settings: Settings) -> None:
        self._root = settings.secret_key.encode()
        self._issuer = settings.public_url
        self._life = timedelta(seconds=settings.access_token_seconds)
        # 64 bytes reduced modulo the order: the bias is below 2^-256 (FIPS 186-5, A.2.1).
        scalar = int.from_bytes(self._derive("jwt", 64), "big") % (P256_ORDER - 1) + 1
        self._private = ec.derive_private_key(scalar, ec.SECP256R1())
        self._public = self._private.public_key()
        encoded = self._public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._kid = hashlib.sha256(encoded).hexdigest()[:16]
        self._hash_keys = {purpose: self._derive(purpose, 32) for purpose in PURPOSES}

    def _derive(self, label: str, length: int) -> bytes:
        return HKDF(SHA256(), length, salt=None, info=f"spawner {label}".encode()).derive(self._root)

    def hash(self, purpose: Purpose, token: str) -> bytes:
        """The keyed hash that the database keeps: without SECRET_KEY a dump cannot even be searched."""
        return hmac.digest(self._hash_keys[purpose], token.encode(), "sha256")

    def issue(self, user_id: UUID, session_id: UUID, *, is_admin: bool) -> str:
        """Sign an access token that lives ACCESS_TOKEN_SECONDS."""
        now = datetime.now(UTC)
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "sid": str(session_id),
            "jti": str(uuid4()),
            "iat": now,
            "exp": now + self._life,
            "is_admin": is_admin,
        }
        return jwt.encode(claims, self._private, ALGORITHM, headers={"kid": self._kid, "typ": "at+jwt"})

    def read(self, token: str) -> Access:
        """Check signature, header and claims; raise `InvalidToken` for what we did not issue or what expired."""
        try:
            header = jwt.get_unverified_header(token)
            if header != {"alg": ALGORITHM, "kid": self._kid, "typ": "at+jwt"}:
                raise InvalidToken
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public,
                [ALGORITHM],
                audience=AUDIENCE,
                issuer=self._issuer,
                options={"require": ["exp", "iat", "aud", "iss", "sub", "sid", "jti"]},
            )
            return Access(UUID(str(claims["sub"])), UUID(str(claims["sid"])), bool(claims.get("is_admin")))
        except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            raise InvalidToken from error
