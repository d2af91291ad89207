"""The OpenAPI document: complete, valid, and the one that is committed."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from app.openapi.document import TAGS, operations

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_committed_document_is_the_current_one(document: dict[str, Any]) -> None:
    if json.loads(COMMITTED.read_text()) != document:
        pytest.fail("docs/openapi.json is stale: run make openapi", pytrace=False)


def test_each_operation_says_what_it_does(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    tags = {tag["name"] for tag in TAGS}
    ids = Counter(operation["operationId"] for _, _, operation in operations(document))
    assert set(ids.values()) == {1}
    for _, path, operation in operations(document):
        assert operation["operationId"].replace("_", "").isalpha(), path
        assert len(operation["operationId"]) <= 20, path
        assert operation["summary"], path
        assert len(operation["description"]) > len(operation["summary"]), path
        assert set(operation["tags"]) <= tags, path
        assert "422" not in operation["responses"], path


def test_nothing_but_the_api_and_the_probes_is_described(document: dict[str, Any]) -> None:
    assert {path for path in document["paths"] if not path.startswith("/api/")} == {"/livez", "/readyz"}


def test_each_operation_for_signed_in_people_says_how_to_sign_in(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert document["components"]["securitySchemes"]["cookie"]["in"] == "cookie"
    for _, path, operation in operations(document):
        scheme = "cookie" if operation["operationId"] == "refresh" else "bearer"
        assert (operation.get("security") == [{scheme: []}]) == ("401" in operation["responses"]), path


def bodies(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every body of the document: what it belongs to, and its media type object."""
    found = []
    for _, _, operation in operations(document):
        name = operation["operationId"]
        found += [(name, body) for body in operation.get("requestBody", {}).get("content", {}).values()]
        for status, response in operation["responses"].items():
            found += [(f"{name} {status}", body) for body in response.get("content", {}).values()]
    return found


def test_each_body_has_a_complete_example_that_fits_its_schema(document: dict[str, Any]) -> None:
    for name, body in bodies(document):
        schema = {**body["schema"], "components": document["components"]}
        validator = jsonschema_rs.validator_for(schema, validate_formats=True)
        assert body["examples"], name
        for shown, example in body["examples"].items():
            assert validator.is_valid(example["value"]), (name, shown)


def test_problems_are_described_once(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        for status, response in operation["responses"].items():
            if "application/problem+json" in response.get("content", {}):
                schema = response["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, (operation["operationId"], status)


def test_no_reference_leads_nowhere(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    references = {part.split('"')[0] for part in text.split('"$ref": "')[1:]}
    assert references
    for reference in references:
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
        assert place
