"""Loads the YAML catalogue, validates all of it, and reports each error with its line."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from app.catalog.placeholders import personal
from app.catalog.templates import Catalog, StrictModel, Template
from app.runtime.docker.policy import Allowed, forbidden_path

DIGEST: Final = re.compile(r"[^@]+@sha256:[0-9a-f]{64}")

# Clearer wording of Pydantic's most frequent errors.
WORDING: Final = {
    "extra_forbidden": "is not a known key",
    "missing": "is missing",
    "string_type": "must be a text: quote it",
}


Place = tuple[int | str, ...]
Mistake = tuple[Place, str]


class CatalogInvalid(Exception):
    """The catalogue is invalid. `mistakes` holds lines of the form `file:line: place: what`."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


class _File(StrictModel):
    templates: tuple[Template, ...]


def load_catalog(
    path: Path, allowed: Allowed | None = None, *, digests: bool = False, host_mode: bool = True
) -> Catalog:
    """Load and validate the catalogue at `path`. Raises `CatalogInvalid` with all errors.

    `allowed` are privileges beyond the defaults, none if omitted. With `digests`, each image must be pinned by digest.
    `host_mode` means that each workspace has its own host name.
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
    mistakes.extend(_never_warm(right, host_mode=host_mode))
    if mistakes:
        found = sorted((_line(node, place), _dotted(data, place), text) for place, text in mistakes)
        raise CatalogInvalid([f"{path}:{line}: {dotted}{text}" for line, dotted, text in found])
    return Catalog(templates)


def _right_ones(data: Any) -> Iterator[tuple[int, Template]]:
    """Yield the valid templates of an invalid file, with their indexes."""
    listed = data.get("templates") if isinstance(data, dict) else None
    for index, item in enumerate(listed if isinstance(listed, list) else ()):
        with contextlib.suppress(ValidationError):
            yield index, Template.model_validate(item)


def _clashes(templates: Sequence[tuple[int, Template]]) -> Iterator[Mistake]:
    """Yield conflicts between valid templates."""
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
    """Yield the templates' privileges that the settings do not allow."""
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


def _never_warm(templates: Sequence[tuple[int, Template]], *, host_mode: bool) -> Iterator[Mistake]:
    """Yield warm templates whose containers cannot run before their user is known."""
    for index, template in templates:
        if not template.warm:
            if template.on_claim:
                yield ("templates", index, "on_claim"), "is for templates with warm containers, and warm is 0"
            continue
        if not host_mode and not template.strip_prefix:
            reason = "SPAWNER_WORKSPACE_URL has {route} in the path, and the container sees it (strip_prefix: false)"
        elif part := personal((*(template.command or ()), *(template.args or ())), host_mode=host_mode):
            reason = f"its command or args hold {part}, which only a launch knows"
        else:
            continue
        yield ("templates", index, "warm"), f"no container can run in advance: {reason}"


def _duplicates(root: yaml.Node | None) -> Iterator[Mistake]:
    """Yield duplicate keys: YAML silently keeps the last one. Guards against aliases that form a cycle."""
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
    """Return the line of a place: of its last key, or of the innermost one in the file."""
    line = 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            pairs = [pair for pair in node.value if pair[0].value == part]
            if not pairs:
                break
            # Of duplicate keys, the last one counts.
            key, node = pairs[-1]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _dotted(data: Any, place: Place) -> str:
    """Format a place: a template by its key if it has one."""
    words = [str(part) for part in place]
    if len(place) > 1:
        with contextlib.suppress(LookupError, TypeError):
            words[1] = str(data["templates"][place[1]]["key"])
    return f"{'.'.join(words)}: " if words else ""
