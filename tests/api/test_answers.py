"""Every answer that the document names is provoked, and is what the document says; nothing else comes."""

from functools import cache
from typing import Any

import jsonschema_rs
import pytest

from app.core.errors import AppError
from app.core.i18n import Locale
from tests.api.cases import HARMLESS
from tests.api.conftest import Scene
from tests.api.operations import ANSWERS, OPERATIONS, Answer
from tests.api.provoke import OWN, provoke
from tests.support.openapi import closed, operations

# What an error's text is filled with when it is provoked.
VALUES: dict[str, dict[str, object]] = {"quota_user_running": {"limit": 1}, "too_many_tokens": {"limit": 50}}


Promised = dict[Answer, tuple[int, dict[str, Any]]]


@cache
def errors_by_code() -> dict[str, type[AppError]]:
    found: dict[str, type[AppError]] = {}
    waiting = [AppError]
    while waiting:
        waiting += (error := waiting.pop()).__subclasses__()
        if hasattr(error, "code"):
            # A class below it says the same at another address, in words of that address.
            found.setdefault(error.code, error)
    return found


@pytest.fixture(scope="module")
def promised(document: dict[str, Any]) -> Promised:
    """The status and the description of every answer that the document names."""
    found: Promised = {}
    for _, _, operation in operations(document):
        for status, response in operation["responses"].items():
            problem = response.get("content", {}).get("application/problem+json")
            for what in problem["examples"] if problem else (int(status),):
                found[operation["operationId"], what] = int(status), response
    return found


def test_the_table_of_operations_is_the_documents(document: dict[str, Any]) -> None:
    found = {one["operationId"]: (f"{method.upper()} {path}", one) for method, path, one in operations(document)}
    assert {name: address for name, (address, _) in found.items()} == {
        name: operation.address for name, operation in OPERATIONS.items()
    }
    for name, (_, described) in found.items():
        body = described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        reference = body.get("anyOf", [body])[0].get("$ref", "")
        declared = OPERATIONS[name].body
        assert reference.rpartition("/")[2] == (declared.__name__ if declared else ""), name


def test_each_answer_of_the_document_has_a_case_and_the_other_way_round(promised: Promised) -> None:
    assert set(promised) == ANSWERS
    assert set(OWN) <= ANSWERS


# What a case of its own leaves behind is not known.
TOGETHER = {code: sorted(key for key in ANSWERS if key[1] == code and key not in OWN) for code in sorted(HARMLESS)}
ALONE = sorted(key for key in ANSWERS if isinstance(key[1], str) and key not in TOGETHER.get(key[1], []))


@pytest.mark.parametrize("code", TOGETHER)
async def test_each_error_of_many_operations_is_a_problem_in_the_callers_language(
    scene: Scene, promised: Promised, code: str
) -> None:
    assert TOGETHER[code]
    for answer in TOGETHER[code]:
        # Limits count across operations.
        await scene.resources.redis.flushall()
        await is_a_problem(scene, promised, answer)


@pytest.mark.parametrize("answer", ALONE, ids="-".join)
async def test_each_error_is_a_problem_in_the_callers_language(
    scene: Scene, promised: Promised, answer: Answer
) -> None:
    await is_a_problem(scene, promised, answer)


async def is_a_problem(scene: Scene, promised: Promised, key: Answer) -> None:
    code, (status, response) = str(key[1]), promised[key]
    error = errors_by_code()[code]
    locales: tuple[Locale, ...] = ("en", "de")
    for locale in locales:
        scene.locale = locale
        answer = await provoke(scene, key)
        assert answer.status_code == error.status == status, (key, answer.text)
        assert answer.headers["Content-Type"] == "application/problem+json"
        body, detail = answer.json(), error.detail.format(locale, **VALUES.get(code, {}))
        fields = body.pop("errors")
        assert body == {
            "type": "about:blank",
            "title": error.title.format(locale),
            "status": status,
            "detail": detail,
            "code": code,
            "error": detail,
            "request_id": answer.headers["X-Request-ID"],
        }
        example = response["content"]["application/problem+json"]["examples"][code]["value"]
        if locale == "en":
            assert fields == example["errors"], key
        assert bool(fields) == (code == "invalid_request")
        for header in response["headers"]:
            assert answer.headers[header], key


@pytest.mark.parametrize(
    "key", sorted(key for key in ANSWERS if isinstance(key[1], int)), ids=lambda key: f"{key[0]}-{key[1]}"
)
async def test_each_other_answer_has_the_fields_of_its_schema(
    scene: Scene, document: dict[str, Any], promised: Promised, key: Answer
) -> None:
    answer, (status, response) = await provoke(scene, key), promised[key]
    assert answer.status_code == status, answer.text
    for header in response["headers"]:
        assert answer.headers[header]
    content = response.get("content")
    if not content:
        assert answer.content == b""
        return
    if "application/json" not in content:
        assert answer.headers["Content-Type"].partition(";")[0] in content
        return
    assert answer.headers["Content-Type"] == "application/json"
    schema = content["application/json"]["schema"]
    strict = {**schema, "components": closed(document["components"])}
    jsonschema_rs.validator_for(strict, validate_formats=True).validate(answer.json())
    if "message" in answer.json():
        shown = content["application/json"]["examples"].values()
        assert answer.json()["message"] in [example["value"]["message"] for example in shown]
