"""Loading the catalogue: a YAML file, checked as a whole, each mistake reported with its line."""

import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app.catalog.placeholders import check_headers, check_words
from app.core.settings.model import EXACT_ORIGIN
from app.runtime.docker.policy import Allowed, forbidden_path
from app.runtime.egress import INTERNET, Egress, parse_egress

MEMORY: Final = re.compile(r"([1-9][0-9]{0,6})([MG])")
UNITS: Final = {"M": 1 << 20, "G": 1 << 30}
SMALLEST_MEMORY: Final = 6 * UNITS["M"]
DIGEST: Final = re.compile(r"[^@]+@sha256:[0-9a-f]{64}")
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED: Final = "SPAWNER_"
# Under /api/container these are addresses of their own.
RESERVED_KEYS: Final = ("status", "restart", "launch")

# Pydantic's words for the mistakes that a person makes most, in the words of this file.
WORDING: Final = {
    "extra_forbidden": "is not a known key",
    "missing": "is missing",
    "string_type": "must be a text: quote it",
}


Words = Annotated[tuple[str, ...], AfterValidator(check_words)]
Seconds = Annotated[int, Field(strict=True, ge=0, le=366 * 86400)]
Place = tuple[int | str, ...]
Mistake = tuple[Place, str]


class CatalogInvalid(Exception):
    """The catalogue cannot be used. `mistakes` holds one `file:line: place: what` each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


def parse_memory(text: object) -> int:
    """Read `512M` or `2G` as bytes, in powers of 1024. Raises `ValueError` for anything else."""
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
    """Raise `ValueError` unless this is an origin as browsers write it."""
    if not EXACT_ORIGIN.fullmatch(text):
        raise ValueError(f"{text} is no exact origin such as https://login.example.org")
    return text


def _check_build(path: Path) -> Path:
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("must be a path relative to the catalogue, inside its folder")
    return path


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Localized(_Model):
    """A text in every language of ours."""

    en: str = Field(min_length=1, max_length=500)
    de: str = Field(min_length=1, max_length=500)

    def say(self, locale: str) -> str:
        """Return the text in `locale`, and in English where that is none of ours."""
        return self.de if locale == "de" else self.en


class Limits(_Model):
    """What one workspace may use. `memory` is in bytes and includes swap; `cpus` is a number of cores."""

    memory: Annotated[int, BeforeValidator(parse_memory)]
    cpus: float = Field(strict=True, ge=0.01, le=1024)
    pids: int = Field(strict=True, ge=4, le=1_000_000)


class Mount(_Model):
    """A folder or file of the engine's host, and where a workspace sees it."""

    host: str = Field(max_length=500)
    path: Annotated[str, AfterValidator(_check_mount)]
    read_only: bool = Field(True, strict=True)


class Probe(_Model):
    """The request whose success means that a workspace is ready."""

    path: str = Field(pattern=r"^/[!-~]*$", max_length=500)
    deadline_seconds: int = Field(strict=True, ge=1, le=3600)


class Template(_Model):
    """One entry of the catalogue. `volume` is a mount point; `build` is relative to the catalogue's folder.
    A limit of 0 seconds is none. `egress` is where a workspace may connect to. `command` stands in for the image's
    entrypoint, `args` for its arguments; these and `headers`, which requests get, may hold placeholders.

    `probe.path` is relative to the base path as the container sees it: `/` where `strip_prefix` holds.
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
    egress: Annotated[Egress, BeforeValidator(parse_egress)] = INTERNET
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
    default: bool = Field(False, strict=True)


class _File(_Model):
    templates: tuple[Template, ...]


@dataclass(frozen=True)
class Catalog:
    """The templates, in the order of the file."""

    templates: tuple[Template, ...]

    @property
    def digest(self) -> str:
        """Twelve characters that tell this set of templates from others, however their files are written."""
        return hashlib.sha256(repr(self.templates).encode()).hexdigest()[:12]

    def get(self, key: str) -> Template | None:
        """Return the template of that key."""
        return next((template for template in self.templates if template.key == key), None)

    @property
    def default(self) -> Template:
        """The template that a new user gets."""
        return next(template for template in self.templates if template.default)


def load_catalog(path: Path, allowed: Allowed | None = None, *, digests: bool = False) -> Catalog:
    """Read and check the catalogue at `path`. Raises `CatalogInvalid` with every mistake that it holds.

    `allowed` is what templates may have beyond the rest, which is nothing unless it is given; with `digests` each
    image must be named by its own.
    """
    try:
        loader = yaml.SafeLoader(path.read_text("utf-8"))
        node = loader.get_single_node()
        data = loader.construct_document(node) if node is not None else {}
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it holds no text"
        raise CatalogInvalid([f"SPAWNER_CATALOG: {path}: cannot be read: {reason}"]) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise CatalogInvalid([f"{path}:{line}: {error.problem}"]) from error
    except yaml.YAMLError as error:
        raise CatalogInvalid([f"{path}:1: {error}"]) from error
    mistakes: list[Mistake] = list(_duplicates(node))
    templates: tuple[Template, ...] = ()
    try:
        templates = _File.model_validate(data).templates
    except ValidationError as error:
        for item in error.errors():
            mistakes.append((item["loc"], WORDING.get(item["type"], item["msg"].removeprefix("Value error, "))))
        right = list(_right_ones(data))
    else:
        right = list(enumerate(templates))
        if not any(template.default for template in templates):
            mistakes.append((("templates",), "one of them must be the default"))
    mistakes.extend(_clashes(right))
    mistakes.extend(_beyond(right, allowed or Allowed(), digests=digests))
    if mistakes:
        found = sorted((_line(node, place), _dotted(data, place), text) for place, text in mistakes)
        raise CatalogInvalid([f"{path}:{line}: {dotted}{text}" for line, dotted, text in found])
    return Catalog(templates)


def _right_ones(data: Any) -> Iterator[tuple[int, Template]]:
    """Find the templates that are right in a file that is wrong, with their places."""
    listed = data.get("templates") if isinstance(data, dict) else None
    for index, item in enumerate(listed if isinstance(listed, list) else ()):
        with contextlib.suppress(ValidationError):
            yield index, Template.model_validate(item)


def _clashes(templates: Sequence[tuple[int, Template]]) -> Iterator[Mistake]:
    """Find what is wrong between templates that are each right."""
    keys: set[str] = set()
    default: str | None = None
    for index, template in templates:
        if template.key in keys:
            yield ("templates", index, "key"), "is another template's key already"
        keys.add(template.key)
        if template.default and default is not None:
            yield ("templates", index, "default"), f"{default} is the default already"
        elif template.default:
            default = template.key
        if 0 < template.idle_stop <= template.idle_pause:
            yield ("templates", index, "idle_stop"), "must be longer than idle_pause, which it would forestall"


def _beyond(templates: Sequence[tuple[int, Template]], allowed: Allowed, *, digests: bool) -> Iterator[Mistake]:
    """Find what the settings do not let a template have."""
    for index, template in templates:
        place = ("templates", index)
        if digests and not DIGEST.fullmatch(template.image):
            yield (*place, "image"), "must be named by digest (name@sha256:…): SPAWNER_REQUIRE_DIGESTS is set"
        if template.runtime is not None and template.runtime not in allowed.runtimes:
            yield (*place, "runtime"), f"{template.runtime} is not in SPAWNER_ALLOWED_RUNTIMES"
        for name in template.capabilities:
            if name not in allowed.capabilities:
                yield (*place, "capabilities"), f"{name} is not in SPAWNER_ALLOWED_CAPABILITIES"
        for number, mount in enumerate(template.mounts):
            spot = (*place, "mounts", number, "host")
            if reason := forbidden_path(mount.host, allowed.socket):
                yield spot, f"{mount.host} {reason}"
            elif mount.host not in allowed.mounts:
                yield spot, f"{mount.host} is not in SPAWNER_ALLOWED_MOUNTS"
            elif not mount.read_only and not allowed.mounts[mount.host]:
                yield spot, f"{mount.host} may only be read: SPAWNER_ALLOWED_MOUNTS names it without :rw"


def _duplicates(root: yaml.Node | None) -> Iterator[Mistake]:
    """YAML lets a later key silently replace an earlier one. An alias may make a node its own descendant."""
    waiting: list[tuple[yaml.Node | None, Place]] = [(root, ())]
    visited: set[int] = set()
    while waiting:
        node, place = waiting.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend((value, (*place, index)) for index, value in enumerate(node.value))
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                inner = (*place, str(key.value))
                if key.value in seen:
                    yield inner, "is written twice"
                seen.add(str(key.value))
                waiting.append((value, inner))


def _line(node: yaml.Node | None, place: Place) -> int:
    """Find the line of a place: that of its last key, or of the innermost one that the file has."""
    line = 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            pairs = [pair for pair in node.value if pair[0].value == part]
            if not pairs:
                break
            # Of a key that is written twice, the later one counts.
            key, node = pairs[-1]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _dotted(data: Any, place: Place) -> str:
    """Name a place as a person would: a template by its key, where it has one."""
    words = [str(part) for part in place]
    if len(place) > 1:
        with contextlib.suppress(LookupError, TypeError):
            words[1] = str(data["templates"][place[1]]["key"])
    return f"{'.'.join(words)}: " if words else ""
