"""The OpenAPI document: complete, valid, and the one that is committed."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from app.openapi.document import TAGS
from app.workspaces.errors import FAILURES
from tests.support.openapi import closed, operations

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
    return [(one["operationId"], body) for _, _, one in operations(document) for body in bodies_of(one)]


def bodies_of(operation: dict[str, Any]) -> list[dict[str, Any]]:
    """The media type objects that an operation takes and answers."""
    places = [operation.get("requestBody", {}), *operation["responses"].values()]
    return [body for place in places for body in place.get("content", {}).values()]


def test_each_body_has_a_complete_example_that_fits_its_schema(document: dict[str, Any]) -> None:
    for name, body in bodies(document):
        schema = {**body["schema"], "components": closed(document["components"])}
        validator = jsonschema_rs.validator_for(schema, validate_formats=True)
        assert body["examples"], name
        for shown, example in body["examples"].items():
            assert validator.is_valid(example["value"]), (name, shown)


def test_each_example_and_each_answer_that_operations_share_stands_once(document: dict[str, Any]) -> None:
    for section in ("examples", "responses"):
        kept = [json.dumps(value, sort_keys=True) for value in document["components"][section].values()]
        assert kept
        assert len(set(kept)) == len(kept)
    inline = [answer for item in document["paths"].values() for one in item.values() for answer in bodies_of(one)]
    assert all(set(example) == {"$ref"} for body in inline for example in body["examples"].values())


def test_each_failure_of_an_example_says_what_its_code_says(document: dict[str, Any]) -> None:
    text = json.dumps(document["components"]["examples"])
    said = dict(re.findall(r'"code": "(\w+)", "message": "([^"]*)"', text))
    assert {"image_missing", "exited", "cancelled"} <= set(said)
    texts = {code: failure.en for code, failure in FAILURES.items()}
    assert {code: message for code, message in said.items() if code in texts and texts[code] != message} == {}


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
