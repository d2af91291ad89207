"""Secrets that sign and hash, and the keys derived from them.

HKDF (RFC 5869) derives a key per purpose, so a link's hash is not valid as a session's. It also derives the P-256 key
that signs access tokens (ES256, RFC 7518). The first secret signs and hashes; the others still verify and are searched
until they are removed.
"""

import base64
import fcntl
import hashlib
import hmac
import os
import secrets
import stat
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.core.logging import cause
from app.core.settings.model import Settings, split_secrets

log = structlog.get_logger(__name__)

# Order of the P-256 group (SEC 2, 2.4.2).
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

ACCESS_LIST = "system.posix_acl_access"

Purpose = Literal[
    "link", "code", "browser", "known", "session", "refresh", "handoff", "workspace", "limit", "token", "share"
]
# Purposes whose tokens are derived from another token, not compared with a stored hash.
Derived = Literal["family", "successor", "access"]


class Key:
    """Keys derived lazily from one secret. Never log it."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self._macs: dict[str, bytes] = {}

    def _derive(self, label: str, length: int) -> bytes:
        return HKDF(SHA256(), length, salt=None, info=f"spawner {label}".encode()).derive(self.secret.encode())

    def mac(self, purpose: Purpose | Derived, text: str) -> bytes:
        """Return HMAC-SHA256 under the purpose's key."""
        if purpose not in self._macs:
            self._macs[purpose] = self._derive(purpose, 32)
        return hmac.digest(self._macs[purpose], text.encode(), "sha256")

    @cached_property
    def private(self) -> ec.EllipticCurvePrivateKey:
        """The key that signs access tokens."""
        # 64 bytes reduced modulo the order: the bias is below 2^-256 (FIPS 186-5, A.2.1).
        scalar = int.from_bytes(self._derive("jwt", 64), "big") % (P256_ORDER - 1) + 1
        return ec.derive_private_key(scalar, ec.SECP256R1())

    @cached_property
    def public(self) -> ec.EllipticCurvePublicKey:
        """The key that verifies access tokens."""
        return self.private.public_key()

    @cached_property
    def kid(self) -> str:
        """The key pair's id in a token's header."""
        encoded = self.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(encoded).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Seen:
    """The file's state at the last read."""

    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> "_Seen":
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Keyring:
    """The current keys, newest first.

    Checks the file at each use, which costs a microsecond: all processes see a new secret before anything made with it.
    An unusable file changes nothing.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = settings.secret_key_file
        self._seen: _Seen | None = None
        self._lost = False
        self._keys = [Key(secret) for secret in settings.secret_key.splitlines()]

    def __call__(self) -> list[Key]:
        """Return the keys, at least one."""
        if self._path is not None:
            self._look(self._path)
        return self._keys

    def _look(self, path: Path) -> None:
        try:
            if _Seen.of(path.stat()) == self._seen:
                return
            with path.open() as file:
                # Stat of the open file: the path may have been replaced since.
                self._seen = _Seen.of(os.fstat(file.fileno()))
                found = split_secrets(file.read())
        except (OSError, ValueError) as error:
            # Set before logging: the logger asks for the keys in order to redact them.
            said, self._lost = self._lost, True
            if not said:
                log.warning("secret_key_file_unusable", **cause(error))
            return
        self._lost = False
        known = {key.secret: key for key in self._keys}
        self._keys = [known.get(secret) or Key(secret) for secret in found]


def _access_list(path: Path) -> bytes | None:
    """Return the file's POSIX ACL; None if the file or file system has none."""
    try:
        return os.getxattr(path, ACCESS_LIST)
    except (OSError, AttributeError):
        return None


def rotate(path: Path, keep: int) -> int:
    """Insert a new secret and keep the newest `keep`; returns the number kept.

    Atomic for readers. Keeps owner, group, mode and ACL; if that fails, raises `OSError` and leaves the file unchanged.
    Raises `ValueError` if the existing secrets are unusable.
    """
    # Orchestrators mount secrets as symlinks: replaces the target.
    path = path.resolve(strict=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        lines = [base64.b64encode(secrets.token_bytes(48)).decode(), *split_secrets(path.read_text())][:keep]
        owner = path.stat()
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w") as file:
                made = os.fstat(descriptor)
                if (owner.st_uid, owner.st_gid) != (made.st_uid, made.st_gid):
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(owner.st_mode))
                if (listed := _access_list(path)) is not None:
                    os.setxattr(descriptor, ACCESS_LIST, listed)
                file.write("\n".join(lines) + "\n")
                file.flush()
                os.fsync(descriptor)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        os.fsync(folder)
    finally:
        os.close(folder)
    return len(lines)
