"""The sample images: found on the engine, or built there, with an image registry or without one."""

import fcntl
import hashlib
import io
import os
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from app.catalog.images import image_key
from app.catalog.loader import CatalogInvalid, load_catalog
from deploy.stack import debian
from deploy.stack.console import StepFailed
from deploy.stack.engine import Engine, EngineFailed
from deploy.stack.layout import Layout

BASE = "debian:bookworm-slim"
CONTEXT_LABEL = "spawner.context"
STATE_SECONDS = 600
FAILURE_SECONDS = 24 * 3600
PULL_SILENCE_SECONDS = 20
_CERTIFICATE = "ca.crt"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """An image of the catalogue that this repository can build. `first`: the default template's, wanted at once."""

    image: str
    context: Path
    first: bool


def samples(catalogue: Path) -> list[Sample]:
    """List the catalogue's images that have a build context, the default template's first. Raises `StepFailed`."""
    found: dict[str, Sample] = {}
    try:
        templates = load_catalog(catalogue).templates
    except CatalogInvalid as error:
        raise StepFailed(str(error)) from None
    for template in templates:
        if template.build is not None and template.image not in found:
            found[template.image] = Sample(template.image, catalogue.parent / template.build, template.default)
    return sorted(found.values(), key=lambda sample: not sample.first)


def missing(engine: Engine, wanted: list[Sample]) -> list[Sample]:
    """Say which images the engine lacks or holds from another state of their context.

    An image without our label is somebody's own choice and is left alone.
    """
    stale = []
    for sample in wanted:
        labels = engine.image_labels(sample.image)
        if labels is None or labels.get(CONTEXT_LABEL, digest := context_digest(sample.context)) != digest:
            stale.append(sample)
    return stale


def context_digest(context: Path) -> str:
    """Hash a build context's names, modes and contents, without the certificates that a machine adds."""
    digest = hashlib.sha256()
    for path in _files(context):
        executable = os.access(path, os.X_OK)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(context)} {executable} {content}\n".encode())
    return digest.hexdigest()[:16]


def _files(context: Path) -> Iterator[Path]:
    return (path for path in sorted(context.rglob("*")) if path.is_file() and path.name != _CERTIFICATE)


def private_certificates(environ: Mapping[str, str]) -> Path | None:
    """Find the bundle that this machine's tools are told to trust; a build needs it too. None on a plain machine."""
    for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if (path := Path(environ.get(name, ""))).is_file():
            return path
    return None


def _pack(context: Path, certificates: Path | None) -> io.BufferedIOBase:
    """Pack a context for the engine, with the machine's certificates as `ca.crt`; the work tree stays clean."""
    packed = tempfile.SpooledTemporaryFile(max_size=16 << 20)  # noqa: SIM115 - the caller reads it
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in _files(context):
            archive.add(path, arcname=str(path.relative_to(context)))
        if certificates is not None:
            archive.add(certificates.resolve(), arcname=_CERTIFICATE)
    packed.seek(0)
    return packed  # type: ignore[return-value]  # typeshed's class is a file in all but name


def ensure_images(
    engine: Engine, wanted: list[Sample], layout: Layout, announce: Report, share: "Shared | None" = None
) -> None:
    """Build what is missing, one after the other; raise `StepFailed` at the first that cannot be built.

    One builder works at a time in a clone; the engine's own words go to the log `images`.
    """
    if not missing(engine, wanted):
        return
    log = layout.log("images")
    with alone(layout.state / "images.lock", announce), log.open("a") as output:
        for sample in missing(engine, wanted):

            def report(line: str, image: str = sample.image) -> None:
                print(f"{time.strftime('%H:%M:%S')} {image}: {line}", file=output, flush=True)
                if share is not None:
                    share.building(image)

            announce(f"building {sample.image}")
            report("begins")
            try:
                if BASE in (sample.context / "Dockerfile").read_text():
                    ensure_base(engine, layout, report, announce)
                certificates = private_certificates(os.environ)
                with _pack(sample.context, certificates) as packed:
                    engine.build(sample.image, packed, {CONTEXT_LABEL: context_digest(sample.context)}, report)  # type: ignore[arg-type]
            except (EngineFailed, StepFailed, OSError) as error:
                reason = f"{sample.image} could not be built: {error}"
                report(reason)
                if share is not None:
                    share.failed(sample.image, str(error))
                raise StepFailed(reason, log) from None
            report("ready")
            if share is not None:
                share.ready(sample.image)


@contextmanager
def alone(path: Path, announce: Report) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            announce("waiting for images that another run is building")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Shared:
    """What the API may tell users of an image that is not there yet: a key for each image in Redis.

    Its value is `building`, refreshed while lines come, or `failed:` and a reason; there is none once it is ready.
    """

    def __init__(self, redis_url: str, instance: str) -> None:
        self._instance = instance
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=5, socket_connect_timeout=5)
        self._refreshed = 0.0

    def building(self, image: str) -> None:
        """Say that it is being built, at most once in ten seconds."""
        if time.monotonic() - self._refreshed > 10:
            self._redis.set(image_key(self._instance, image), "building", ex=STATE_SECONDS)
            self._refreshed = time.monotonic()

    def failed(self, image: str, reason: str) -> None:
        """Say why there is none."""
        self._redis.set(image_key(self._instance, image), f"failed:{reason[:500]}", ex=FAILURE_SECONDS)

    def ready(self, image: str) -> None:
        """Forget it."""
        self._redis.delete(image_key(self._instance, image))
        self._refreshed = 0.0

    def state(self, image: str) -> str:
        """Return what was said last, or nothing."""
        value = self._redis.get(image_key(self._instance, image))
        return value.decode() if isinstance(value, bytes) else ""


def ensure_base(engine: Engine, layout: Layout, report: Report, announce: Report) -> None:
    """Get Debian's base image: from the engine, from a registry, or from Debian's packages."""
    with alone(layout.state / "base.lock", announce):
        if engine.image_labels(BASE) is not None:
            return
        try:
            engine.pull(BASE, report, PULL_SILENCE_SECONDS)
        except EngineFailed as error:
            report(f"no registry gives {BASE}: {error}")
            _bootstrap_base(engine, report, announce)


def _bootstrap_base(engine: Engine, report: Report, announce: Report) -> None:
    if not debian.can_install():
        raise StepFailed(
            f"{BASE} is not on this engine, no registry answers, and making it from Debian's packages needs root on "
            "Debian or Ubuntu: run `make up` once as root, or `docker load` the image"
        )
    announce(f"no image registry answers; making {BASE} from Debian's packages (about a minute)")
    debian.install("debootstrap", "debian-archive-keyring")
    # Not below /tmp: it may forbid devices, and be too small.
    with tempfile.TemporaryDirectory(prefix="spawner-base-", dir="/var/tmp") as directory:  # nosec B108 # a fresh one in it
        root = Path(directory)
        # The directory becomes the image's `/`, which every user must be able to enter.
        root.chmod(0o755)
        command = ["debootstrap", "--variant=minbase", "bookworm", str(root)]
        _logged(command, report)
        for pattern in ("var/cache/apt/*.bin", "var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_*"):
            for path in root.glob(pattern):
                path.unlink()
        packing = subprocess.Popen(["tar", "-C", str(root), "--numeric-owner", "-c", "."], stdout=subprocess.PIPE)
        assert packing.stdout is not None  # nosec B101 # narrows the type
        with packing.stdout:
            engine.import_root(BASE, packing.stdout, report)
        if packing.wait():
            raise StepFailed(f"{BASE} could not be packed")


def _logged(command: list[str], report: Report) -> None:
    """Run a command, each of its lines into the log; raise `StepFailed` with the last one if it fails."""
    line = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout is not None  # nosec B101 # narrows the type
        for line in running.stdout:
            report(line.rstrip())
    if running.returncode:
        raise StepFailed(f"`{' '.join(command)}` failed: {line.strip()}")
