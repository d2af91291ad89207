"""Example bodies: data in `examples/`, completed by their schemas' defaults."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).with_name("examples")
# One YAML document in parts: later parts use anchors of the first.
PARTS = ("shared", "accounts", "workspaces", "admin")


@cache
def recorded() -> dict[str, dict[int | str, Any]]:
    """Return the examples by operationId: JSON bodies by status, text by media type, each under a label.

    `invalid` is the field in the operation's `invalid_request`.
    """
    text = "".join((FOLDER / f"{part}.yaml").read_text("utf-8") for part in PARTS)
    loaded: dict[str, dict[int | str, Any]] = yaml.safe_load(text)
    del loaded["shared"]
    return loaded


def complete(value: Any, schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Return the value in the schema's field order, with defaults for missing fields."""
    if value is None:
        return None
    # A nullable schema is an `anyOf` of the schema and null.
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
