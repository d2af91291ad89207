"""Moves repeated parts of the OpenAPI document to `components` and refers to them."""

import json
from collections import Counter
from typing import Any

from app.http.problems import MEDIA_TYPE

JsonObject = dict[str, Any]


def share(document: JsonObject) -> None:
    """Move every example, and each error response shared by several operations, to `components`."""
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    examples = _Shared("examples")
    for operation in operations:
        for body in operation.get("requestBody", {}).get("content", {}).values():
            _refer(examples, operation["operationId"], body["examples"])
        for response in operation["responses"].values():
            for media_type, body in response.get("content", {}).items():
                owner = None if media_type == MEDIA_TYPE else operation["operationId"]
                _refer(examples, owner, body["examples"])
    responses = _Shared("responses")
    uses = Counter(_text(response) for operation in operations for response in operation["responses"].values())
    for operation in operations:
        for status, response in operation["responses"].items():
            if MEDIA_TYPE in response.get("content", {}) and uses[_text(response)] > 1:
                shown = response["content"][MEDIA_TYPE]["examples"].values()
                name = "-".join(example["$ref"].rpartition("/")[2] for example in shown)
                operation["responses"][status] = responses.refer(name, response)
    document["components"] |= {"examples": examples.sorted(), "responses": responses.sorted()}


def _refer(examples: "_Shared", owner: str | None, shown: JsonObject) -> None:
    """Replace examples by references. Problems are named by code and fields, others by owner."""
    for name, example in shown.items():
        if owner is None:
            fields = [f"{field['field']}.{field['code']}" for field in example["value"]["errors"]]
            full = ".".join([name, *fields])
        else:
            full = f"{owner}.{name}"
        shown[name] = examples.refer(full, example)


class _Shared:
    """A section of `components`: equal values are stored once, under the first's name."""

    def __init__(self, section: str) -> None:
        self._section = section
        self._names: dict[str, str] = {}
        self._values: JsonObject = {}

    def refer(self, name: str, value: JsonObject) -> JsonObject:
        """Store a value and return its reference. Raises if the name has another value."""
        kept = self._names.setdefault(_text(value), name)
        if self._values.setdefault(kept, value) != value:
            raise ValueError(f"two values named {name} in {self._section}")
        return {"$ref": f"#/components/{self._section}/{kept}"}

    def sorted(self) -> JsonObject:
        """Return the section, sorted by name."""
        return dict(sorted(self._values.items()))


def _text(value: JsonObject) -> str:
    return json.dumps(value, sort_keys=True)
