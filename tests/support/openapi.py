"""The OpenAPI document as tests read it: every operation, with what it shares with others in its place."""

from collections.abc import Iterator
from typing import Any

# Schemas and headers stay references.
SHARED = ("#/components/examples/", "#/components/responses/")


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every operation with its method and path."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, resolved(operation, document)


def resolved(node: Any, document: dict[str, Any]) -> Any:
    """The node, with references to examples and responses replaced by what they stand for."""
    if isinstance(node, list):
        return [resolved(item, document) for item in node]
    if not isinstance(node, dict):
        return node
    if str(node.get("$ref", "")).startswith(SHARED):
        _, section, name = node["$ref"].removeprefix("#/").split("/")
        return resolved(document["components"][section][name], document)
    return {key: resolved(value, document) for key, value in node.items()}


def closed(components: dict[str, Any]) -> dict[str, Any]:
    """The schemas, allowing no field that they do not name."""
    schemas = {
        name: {**schema, "additionalProperties": False} if schema["type"] == "object" else schema
        for name, schema in components["schemas"].items()
    }
    return {"schemas": schemas}
