"""What no honest client sends is refused as invalid: no depth, length, count, number or byte of it is a crash."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from tests.api.conftest import Scene
from tests.support.openapi import operations

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}
PARTS = b"".join(b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n1\r\n' % number for number in range(1000))
# As they stand in an address.
SEGMENTS = ["%00", "hello%00", "%ff%fe", "%c0%ae%c0%ae", "x" * 4000, "%F0%9F%92%A3", "%D9%A1", "-", "%20", "..%2f..%2f"]
TEXTS = ["\0", "a\0b", "x" * 4000, "\u202e", "1e999", str(2**63), "9" * 5000, "NaN", "%00", "{}", "[]", ";"]
VALUES: list[Any] = [*TEXTS, None, True, -1, 2**31, 2**63, 2**64, 10**400, 1.5, [], {}, [[]], {"$ne": 1}]
BODIES = {
    "deep arrays": b"[" * 30_000 + b"]" * 30_000,
    "deep objects": b'{"email":' * 6_000 + b"1" + b"}" * 6_000,
    "a deep field": b'{"email":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "a field just deep enough": b'{"email":' + b"[" * 300 + b"]" * 300 + b"}",
    "a long number": b'{"email": ' + b"9" * 60_000 + b"}",
    "a long exponent": b'{"email": 1e' + b"9" * 1000 + b"}",
    "no number": b'{"email": NaN}',
    "not UTF-8": b'{"email": "\xff\xfe"}',
    "overlong UTF-8": b'{"email": "\xc0\xaf"}',
    "half a pair": rb'{"email": "\ud800@example.org"}',
    "a NUL in text": rb'{"email": "a\u0000@example.org"}',
    "NULs": b"\0" * 1000,
    "nothing": b"",
    "twice the field": b'{"email": "\\u0000", "email": "\\ud800"}',
    "many fields": json.dumps({f"f{number}": 0 for number in range(5000)}).encode(),
}


def check(answer: httpx.Response, what: object) -> None:
    place = f"{answer.request.method} {str(answer.request.url)[:200]} with {str(what)[:80]}: {answer.status_code}"
    assert answer.status_code < 500, place
    if answer.status_code >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json", place
        # It names fields and limits, and repeats nothing that was sent.
        assert len(answer.content) < 4000, place


@pytest.mark.parametrize("path", ["/api/auth/signup", "/api/auth/verify"])
async def test_a_body_that_is_no_json_of_ours_is_refused(client: httpx.AsyncClient, path: str) -> None:
    for name, body in BODIES.items():
        answer = await client.post(path, content=body, headers=JSON)
        check(answer, name)
        assert answer.status_code == 400, name


async def test_a_body_without_a_length_is_bounded(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 10_000_000:
            sent += 4096
            yield b" " * 4096

    for path, headers in (("/api/auth/signup", JSON), ("/sign-in", FORM)):
        sent = 0
        answer = await client.post(path, content=endless(), headers={**headers, "Origin": "http://localhost:8080"})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert sent < 100_000


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (FORM, b"&".join(b"f%d=1" % number for number in range(6000))),
        (FORM, b"email=%00%ff%c0%af"),
        (FORM, b"=&=&&&=" * 1000),
        (FORM, b"email=" + b"x" * 60_000),
        (FORM, b"email=a%00@example.org"),
        (MULTIPART, PARTS + b"--x--\r\n"),
        (MULTIPART, b'--x\r\nContent-Disposition: form-data; name="email"; filename="x"\r\n\r\n1\r\n--x--\r\n'),
        (MULTIPART, b"no part"),
        ({"Content-Type": "multipart/form-data"}, b"no boundary"),
        ({"Content-Type": "text/plain"}, b"email=alice@example.org"),
        ({"Content-Type": "\xff"}, b"x"),
    ],
)
async def test_a_form_that_is_none_of_ours_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str], body: bytes
) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = await client.post("/sign-in", content=body, headers=[*raw, (b"Origin", b"http://localhost:8080")])
    assert 400 <= answer.status_code < 500


def templates(app: FastAPI) -> Iterator[tuple[str, str]]:
    for context in iter_route_contexts(app.routes):
        for method in sorted(context.methods or ()):
            if context.path and "{" in context.path and "OPTIONS" not in method:
                yield method, context.path


async def test_no_segment_of_an_address_is_a_crash(scene: Scene, app: FastAPI) -> None:
    headers = {**scene.admin.headers, "Origin": "http://localhost:8080"}
    found = list(templates(app))
    assert len(found) > 20
    for method, path in found:
        before, _, rest = path.partition("{")
        name, _, after = rest.partition("}")
        for segment in SEGMENTS:
            url = f"{before}{segment}{after.replace('{kind}', segment)}"
            check(await scene.client.request(method, url, headers=headers), (name, segment))


async def test_no_value_of_a_parameter_or_field_is_a_crash(scene: Scene, document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    tried = 0
    # Launches last: logs of what was launched would be waited for.
    for method, path, operation in sorted(operations(document), key=lambda one: "202" in one[2]["responses"]):
        url = path.replace("{type}", "hello").replace("{id}", str(scene.alice.user.id))
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                continue
            for text in TEXTS:
                tried += 1
                if parameter["in"] == "query":
                    sent: dict[str, Any] = {"params": {parameter["name"]: text}, "headers": scene.admin.headers}
                else:
                    raw = (parameter["name"].encode(), text.encode("utf-8", "replace"))
                    own = [(name.encode(), value.encode()) for name, value in scene.admin.headers.items()]
                    sent = {"headers": [*own, raw]}
                check(await scene.client.request(method, url, **sent), (parameter["name"], text))
        for body in operation.get("requestBody", {}).get("content", {}).values():
            # A body that may be left out is one of two: a reference, or null.
            given = body["schema"] if "$ref" in body["schema"] else body["schema"]["anyOf"][0]
            fields = schemas[given["$ref"].rpartition("/")[2]]["properties"]
            good = body["examples"]["request"]["value"]
            for field in fields:
                for value in VALUES:
                    tried += 1
                    sent = {"json": {**good, field: value}, "headers": scene.admin.headers}
                    check(await scene.client.request(method, url, **sent), (field, value))
    assert tried > 100


async def test_long_and_many_parameters_are_ignored_or_refused(client: httpx.AsyncClient) -> None:
    many = "&".join(f"p{number}={number}" for number in range(5000))
    for query in (f"token={'x' * 60_000}", many, "limit=1&" * 5000, "&" * 60_000, "%00=%00", "limit=%00", "before=%ff"):
        for path in ("/livez", "/api/jobs", "/api/auth/verify-login", "/sign-in"):
            check(await client.get(f"{path}?{query}"), query)
