"""Sign-in secrets: random tokens stored as keyed hashes, and access tokens (JWT, RFC 9068's claims)."""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args
from uuid import UUID, uuid4

import jwt

from app.core import clock
from app.core.settings.model import Settings
from app.security.errors import InvalidToken
from app.security.keyring import Derived, Key, Keyring, Purpose

ALGORITHM = "ES256"
AUDIENCE = "spawner-api"
TYPE = "at+jwt"
MAX_LENGTH = 4096
# Tokens in the cache of verified signatures; the oldest is evicted.
MAX_VERIFIED = 2048
# Maximum clock difference between machines.
LEEWAY_SECONDS = 30
# The last base64url character of 64 bytes carries two bits: any other is an alias of the same signature.
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{85}[AQgw]")
_REQUIRED = ["exp", "iat", "aud", "iss", "sub", "sid", "jti"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


@dataclass(frozen=True, slots=True)
class Access:
    """Claims of a valid access token. The database decides whether its session is live."""

    user_id: UUID
    session_id: UUID
    is_admin: bool


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token whose signature is valid under this key. Times are Unix times."""

    key: Key
    begins: int
    expires: int
    access: Access


def new_token() -> str:
    """Return 256 random bits as 43 URL-safe characters."""
    return secrets.token_urlsafe(32)


class Tokens:
    """Creates and verifies tokens. Holds keys: never log it."""

    def __init__(self, settings: Settings) -> None:
        self._keys = Keyring(settings)
        self._issuer = settings.public_url
        self._verified: dict[bytes, _Verified] = {}
        self._life = timedelta(seconds=settings.access_token_seconds)

    def hash(self, purpose: Purpose, token: str) -> bytes:
        """Return the keyed hash that the database stores; without SECRET_KEY a dump cannot be searched."""
        return self._keys()[0].mac(purpose, token)

    def hashes(self, purpose: Purpose, token: str) -> list[bytes]:
        """Return every hash that the database may hold for the token, for searching; store `hash`."""
        return [key.mac(purpose, token) for key in self._keys()]

    def derive(self, purpose: Derived, text: str) -> list[str]:
        """Derive a token from a text under each key, newest first. Deterministic."""
        return [_spell(key.mac(purpose, text)) for key in self._keys()]

    def issue(self, user_id: UUID, session_id: UUID, *, is_admin: bool) -> str:
        """Sign an access token valid for ACCESS_TOKEN_SECONDS."""
        key, now = self._keys()[0], clock.source()
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
        return jwt.encode(claims, key.private, ALGORITHM, headers={"kid": key.kid, "typ": TYPE})

    def read(self, token: str) -> Access:
        """Verify signature, header and claims; raises `InvalidToken` if foreign or expired.

        Caches the signature check by token and key. Checks keys and times at each call.
        """
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        verified = self._verified.get(digest)
        try:
            if verified is None or verified.key not in self._keys():
                verified = self._verify(token)
            _check_times(verified)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            raise InvalidToken from error
        self._verified[digest] = verified
        if len(self._verified) > MAX_VERIFIED:
            del self._verified[next(iter(self._verified))]
        return verified.access

    def _verify(self, token: str) -> _Verified:
        if len(token) > MAX_LENGTH or not _FORM.fullmatch(token):
            raise InvalidToken
        header = jwt.get_unverified_header(token)
        known = {key.kid: key for key in self._keys()}
        key = known.get(str(header.get("kid")))
        if key is None or header != {"alg": ALGORITHM, "kid": key.kid, "typ": TYPE}:
            raise InvalidToken
        claims: dict[str, Any] = jwt.decode(
            token,
            key.public,
            [ALGORITHM],
            audience=AUDIENCE,
            issuer=self._issuer,
            # The platform's clock checks times.
            options={
                "require": _REQUIRED,
                "strict_aud": True,
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
        access = Access(UUID(str(claims["sub"])), UUID(str(claims["sid"])), bool(claims.get("is_admin")))
        return _Verified(key, *_read_times(claims), access)

    def is_ours(self, token: str) -> bool:
        """Return whether the token's header names one of our keys. Verifies nothing: it may be expired or forged."""
        if token.count(".") != 2 or len(token) > MAX_LENGTH:
            return False
        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError:
            return False
        return any(key.kid == kid for key in self._keys())


def _read_times(claims: dict[str, Any]) -> tuple[int, int]:
    """Return when the token begins and when it expires."""
    expires, begins = claims["exp"], [claims["iat"], *([claims["nbf"]] if "nbf" in claims else [])]
    if not all(type(time) is int for time in (expires, *begins)):
        raise InvalidToken
    return max(begins), expires


def _check_times(verified: _Verified) -> None:
    now = clock.source().timestamp()
    if verified.expires <= now or verified.begins > now + LEEWAY_SECONDS:
        raise InvalidToken


def _spell(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def is_token(value: str) -> bool:
    """Return whether the value has the form of our random tokens."""
    return _TOKEN.fullmatch(value) is not None
