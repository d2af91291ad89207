"""The templates of the catalogue and their fields."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from app.catalog.errors import UnknownTemplate
from app.catalog.placeholders import check_headers, check_words
from app.core.i18n import LOCALES
from app.core.settings.model import EXACT_ORIGIN
from app.runtime.egress import EGRESS_INTERNET, Egress, parse_egress

MEMORY: Final = re.compile(r"([1-9][0-9]{0,6})([MG])")


UNITS: Final = {"M": 1 << 20, "G": 1 << 30}


SMALLEST_MEMORY: Final = 6 * UNITS["M"]


VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


RESERVED: Final = "SPAWNER_"


# Routes under /api/container.
RESERVED_KEYS: Final = ("status", "restart", "launch")


Words = Annotated[tuple[str, ...], AfterValidator(check_words)]


Seconds = Annotated[int, Field(strict=True, ge=0, le=366 * 86400)]


def parse_memory(text: object) -> int:
    """Parse `512M` or `2G` into bytes, in powers of 1024. Raises `ValueError` otherwise."""
    match = MEMORY.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("must be a number of megabytes or gigabytes such as 512M or 2G")
    size = int(match[1]) * UNITS[match[2]]
    if size < SMALLEST_MEMORY:
        raise ValueError("must be at least 6M, the least that an engine accepts")
    return size


def _check_environment(values: dict[str, str]) -> dict[str, str]:
    for name, value in values.items():
        if not VARIABLE.fullmatch(name):
            raise ValueError(f"{name} is not a name for a variable")
        if name.startswith(RESERVED):
            raise ValueError(f"{name} is set by Spawner: names that begin with {RESERVED} are reserved")
        if "\0" in value:
            raise ValueError(f"{name} holds a NUL character")
    return values


def _check_key(key: str) -> str:
    if key in RESERVED_KEYS:
        raise ValueError(f"{', '.join(RESERVED_KEYS)} are reserved: the API has addresses of these names")
    return key


def _check_mount(path: str) -> str:
    if ".." in PurePosixPath(path).parts or not PurePosixPath(path).name or not path.startswith("/") or ":" in path:
        raise ValueError("must be an absolute path below /")
    return path


def check_origin(text: str) -> str:
    """Raise `ValueError` unless the text is an origin as browsers serialize it."""
    if not EXACT_ORIGIN.fullmatch(text):
        raise ValueError(f"{text} is not an exact origin such as https://login.example.org")
    return text


def _check_build(path: Path) -> Path:
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("must be a path relative to the catalogue, inside its folder")
    return path


class StrictModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Localized(StrictModel):
    """A text in every supported language."""

    en: str = Field(min_length=1, max_length=500)
    de: str = Field(min_length=1, max_length=500)

    def format(self, locale: str) -> str:
        """Return the text in `locale`; in English for an unsupported one."""
        text: str = getattr(self, locale if locale in LOCALES else "en")
        return text


class Limits(StrictModel):
    """Limits of one workspace. `memory` is in bytes and includes swap; `cpus` is in cores."""

    memory: Annotated[int, BeforeValidator(parse_memory)]
    cpus: float = Field(strict=True, ge=0.01, le=1024)
    pids: int = Field(strict=True, ge=4, le=1_000_000)


class Mount(StrictModel):
    """A folder or file of the engine's host, and its path in the workspace."""

    host: str = Field(max_length=500)
    path: Annotated[str, AfterValidator(_check_mount)]
    read_only: bool = Field(True, strict=True)


class Probe(StrictModel):
    """The readiness probe: a request that must succeed."""

    path: str = Field(pattern=r"^/[!-~]*$", max_length=500)
    deadline_seconds: int = Field(strict=True, ge=1, le=3600)


class Template(StrictModel):
    """One entry of the catalogue. `volume` is a mount point; `build` is relative to the catalogue's folder.

    A timeout of 0 seconds disables it. `egress` limits outgoing connections. `command` replaces the image's entrypoint,
    `args` its arguments; both, and the request `headers`, may contain placeholders. `warm` is the number of
    containers that run in advance, `on_claim` a command that such a container runs when a launch takes it.

    `probe.path` is relative to the base path in the container: `/` with `strip_prefix`.
    """

    key: Annotated[str, Field(pattern=r"^[a-z0-9]+$", max_length=20), AfterValidator(_check_key)]
    name: Localized
    description: Localized
    image: str = Field(pattern=r"^[a-z0-9][A-Za-z0-9._/:@-]*$", max_length=255)
    build: Annotated[Path, AfterValidator(_check_build)] | None = None
    port: int = Field(strict=True, ge=1, le=65535)
    limits: Limits
    command: Words | None = None
    args: Words | None = None
    environment: Annotated[dict[str, str], AfterValidator(_check_environment)] = {}
    volume: Annotated[str, AfterValidator(_check_mount)] | None = None
    probe: Probe
    user: str | None = Field(None, pattern=r"^[a-z0-9_][a-z0-9_-]*(:[a-z0-9_][a-z0-9_-]*)?$")
    read_only: bool = Field(False, strict=True)
    egress: Annotated[Egress, BeforeValidator(parse_egress)] = EGRESS_INTERNET
    mounts: tuple[Mount, ...] = ()
    capabilities: tuple[str, ...] = ()
    runtime: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    strip_prefix: bool = Field(True, strict=True)
    posts_from: tuple[Annotated[str, AfterValidator(check_origin)], ...] = ()
    headers: Annotated[dict[str, str], AfterValidator(check_headers)] = {}
    restart: Literal["on-failure", "never"] = "on-failure"
    idle_pause: Seconds = 0
    idle_stop: Seconds = 0
    max_lifetime: Seconds = 0
    start_on_visit: bool = Field(False, strict=True)
    warm: int = Field(0, strict=True, ge=0, le=100)
    on_claim: Words | None = None
    default: bool = Field(False, strict=True)


@dataclass(frozen=True)
class Catalog:
    """The templates, in file order."""

    templates: tuple[Template, ...]

    @property
    def digest(self) -> str:
        """Return a 12-character digest of the templates, independent of the file's formatting."""
        return hashlib.sha256(repr(self.templates).encode()).hexdigest()[:12]

    def get(self, key: str) -> Template | None:
        """Return the template with this key, or None."""
        return next((template for template in self.templates if template.key == key), None)

    @property
    def default(self) -> Template:
        """Return a new user's template."""
        return next(template for template in self.templates if template.default)


def find_template(catalog: Catalog, key: str) -> Template:
    """Return the template with this key; raises `UnknownTemplate`."""
    template = catalog.get(key)
    if template is None:
        raise UnknownTemplate
    return template
