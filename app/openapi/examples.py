"""Example bodies of answers: data in `examples/`, completed by the defaults of their schemas."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).with_name("examples")
# One YAML document in parts: the later ones refer to anchors of the first.
PARTS = ("shared", "accounts", "workspaces", "admin")


@cache
def recorded() -> dict[str, dict[int | str, Any]]:
    """Return the examples by operationId: JSON bodies by status, text by media type, each under what it shows.

    `invalid` is the field that the operation's `invalid_request` names.
    """
    text = "".join((FOLDER / f"{part}.yaml").read_text("utf-8") for part in PARTS)
    loaded: dict[str, dict[int | str, Any]] = yaml.safe_load(text)
    del loaded["shared"]
    return loaded


def complete(value: Any, schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Return the value with its fields in the schema's order; those that it leaves out have their defaults."""
    if value is None:
        return None
    # What may be null is one of two: a schema, or null.
    schema = schema.get("anyOf", [schema])[0]
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        return [complete(item, schema["items"], schemas) for item in value]
    fields = schema.get("properties", {})
    if not fields:
        return value
    known = {name: complete(value.get(name, field.get("default")), field, schemas) for name, field in fields.items()}
    return {**known, **{name: value[name] for name in value if name not in fields}}
