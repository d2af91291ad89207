"""Every answer that the document names is provoked, and is what the document says; nothing else comes."""

from typing import Any

import jsonschema_rs
import pytest

from app.core.errors import AppError
from app.core.i18n import Locale
from tests.api.admin_cases import CASES
from tests.api.calls import VALUES
from tests.api.cases_sessions import Key
from tests.api.conftest import Scene
from tests.support.openapi import closed, operations


def errors_by_code() -> dict[str, type[AppError]]:
    found: dict[str, type[AppError]] = {}
    waiting = [AppError]
    while waiting:
        waiting += (error := waiting.pop()).__subclasses__()
        if hasattr(error, "code"):
            # A class below it says the same at another address, in words of that address.
            found.setdefault(error.code, error)
    return found


def promised(document: dict[str, Any]) -> set[Key]:
    found: set[Key] = set()
    for _, _, operation in operations(document):
        for status, response in operation["responses"].items():
            problem = response.get("content", {}).get("application/problem+json")
            for code in problem["examples"] if problem else (None,):
                found.add((operation["operationId"], int(status), code))
    return found


def response_of(document: dict[str, Any], key: Key) -> dict[str, Any]:
    for _, _, operation in operations(document):
        if operation["operationId"] == key[0]:
            response: dict[str, Any] = operation["responses"][str(key[1])]
            return response
    raise KeyError(key)


def test_each_answer_of_the_document_has_a_case_and_the_other_way_round(document: dict[str, Any]) -> None:
    assert promised(document) == set(CASES)


# Whatever the operation, these leave nothing behind: one scene serves for all of them.
ANYWHERE = ("unauthorized", "not_admin", "cross_site", "unavailable")
OWN = sorted(key for key in CASES if key[2] and key[2] not in ANYWHERE)


@pytest.mark.parametrize("code", ANYWHERE)
async def test_each_error_that_any_operation_may_give_is_a_problem_in_the_callers_language(
    scene: Scene, document: dict[str, Any], code: str
) -> None:
    for key in sorted(key for key in CASES if key[2] == code):
        # Limits count across operations.
        await scene.resources.redis.flushall()
        await is_a_problem(scene, document, key)


@pytest.mark.parametrize("key", OWN, ids=lambda key: f"{key[0]}-{key[2]}")
async def test_each_error_is_a_problem_in_the_callers_language(
    scene: Scene, document: dict[str, Any], key: Key
) -> None:
    await is_a_problem(scene, document, key)


async def is_a_problem(scene: Scene, document: dict[str, Any], key: Key) -> None:
    _, status, code = key
    assert code
    error = errors_by_code()[code]
    locales: tuple[Locale, ...] = ("en", "de")
    for locale in locales:
        scene.locale = locale
        answer = await CASES[key](scene)
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
        assert bool(fields) == (code == "invalid_request")
        for header in response_of(document, key)["headers"]:
            assert answer.headers[header], key


@pytest.mark.parametrize("key", sorted(key for key in CASES if not key[2]), ids=lambda key: f"{key[0]}-{key[1]}")
async def test_each_other_answer_has_the_fields_of_its_schema(scene: Scene, document: dict[str, Any], key: Key) -> None:
    answer = await CASES[key](scene)
    assert answer.status_code == key[1], answer.text
    response = response_of(document, key)
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
