"""Invalid input is 400, and says which field and why, in English and in German."""

from typing import Any

import httpx
import pytest

from app.http.problems import FIELD_TEXTS, OTHER_FIELD_TEXT
from app.resources import Resources
from tests.support.factories import SignedIn, make_user, sign_in

JSON = {"Content-Type": "application/json"}
KEY = {"Idempotency-Key": "k" * 256}
JOB = "/api/jobs/7b0c3c0e-6a44-4c7e-9f0e-1f6f6d3f0a11"
ACCESS = "/api/admin/workspaces/7b0c3c0e-6a44-4c7e-9f0e-1f6f6d3f0a11/access"
LOGS = "/api/container/hello/logs"
TOKENS, PAST, FAR = "/api/auth/tokens", "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"

# Method, path, what is sent, and what is complained of.
INVALID: list[tuple[str, str, dict[str, Any], list[tuple[str, str]]]] = [
    ("POST", "/api/auth/signup", {}, [("body", "missing")]),
    ("POST", "/api/auth/signup", {"json": {}}, [("email", "missing")]),
    ("POST", "/api/auth/signup", {"json": []}, [("body", "model_attributes_type")]),
    ("POST", "/api/auth/signup", {"json": {"email": 7}}, [("email", "string_type")]),
    ("POST", "/api/auth/login", {"json": {"email": None}}, [("email", "string_type")]),
    ("POST", "/api/auth/login", {"json": {"email": "a@b@c"}}, [("email", "invalid_email")]),
    ("POST", "/api/auth/login", {"json": {"email": "a,b@c.org"}}, [("email", "invalid_email")]),
    ("POST", "/api/auth/login", {"content": b"{", "headers": JSON}, [("body", "json_invalid")]),
    ("POST", "/api/auth/login", {"content": b'{"email": "\xff"}', "headers": JSON}, [("body", "json_invalid")]),
    ("POST", "/api/auth/login", {"content": b"[" * 60_000, "headers": JSON}, [("body", "json_invalid")]),
    ("POST", "/api/auth/login", {"content": b'{"email": "a@b.org"}'}, [("body", "model_attributes_type")]),
    ("POST", "/api/auth/login", {"data": {"email": "a@b.org"}}, [("body", "model_attributes_type")]),
    ("POST", "/api/auth/verify", {"json": {"token": ""}}, [("token", "string_too_short")]),
    ("POST", "/api/auth/verify", {"json": {"token": "x" * 201}}, [("token", "string_too_long")]),
    ("POST", "/api/auth/verify", {"content": b'{"token": "\\ud800"}', "headers": JSON}, [("token", "string_unicode")]),
    ("POST", TOKENS, {"json": {"name": " ", "scopes": ["read"], "days": 1}}, [("name", "string_too_short")]),
    ("POST", TOKENS, {"json": {"name": "x", "scopes": [], "days": 1}}, [("scopes", "too_short")]),
    ("POST", TOKENS, {"json": {"name": "x", "scopes": ["read"] * 4, "days": 1}}, [("scopes", "too_long")]),
    ("POST", TOKENS, {"json": {"name": "x", "scopes": ["all"], "days": 1}}, [("scopes.0", "enum")]),
    ("POST", TOKENS, {"json": {"name": "x", "scopes": ["read"], "days": 366}}, [("days", "less_than_equal")]),
    ("POST", TOKENS, {"json": {"name": "x", "scopes": ["read"]}}, [("body", "one_end")]),
    ("POST", TOKENS, {"json": {"name": "x", "scopes": ["read"], "expires_at": PAST}}, [("body", "bad_end")]),
    ("POST", TOKENS, {"json": {"name": "x", "scopes": ["read"], "expires_at": FAR}}, [("body", "bad_end")]),
    ("GET", "/api/auth/verify-signup", {}, [("token", "missing")]),
    ("GET", "/api/auth/verify-login", {"params": {"token": ""}}, [("token", "string_too_short")]),
    ("POST", "/api/container/restart", {"headers": KEY}, [("Idempotency-Key", "string_too_long")]),
    ("POST", "/api/container/launch/hello", {"headers": KEY}, [("Idempotency-Key", "string_too_long")]),
    ("POST", "/api/container/restart", {"headers": {"Idempotency-Key": ""}}, [("Idempotency-Key", "string_too_short")]),
    ("GET", "/api/jobs", {"params": {"limit": 0}}, [("limit", "greater_than_equal")]),
    ("GET", "/api/jobs", {"params": {"limit": 101}}, [("limit", "less_than_equal")]),
    ("GET", "/api/jobs", {"params": {"limit": "many"}}, [("limit", "int_parsing")]),
    ("GET", "/api/jobs", {"params": {"before": "x"}}, [("before", "uuid_parsing")]),
    (
        "GET",
        "/api/jobs",
        {"params": {"limit": "", "before": "x"}},
        [("limit", "int_parsing"), ("before", "uuid_parsing")],
    ),
    ("GET", "/api/jobs/x", {}, [("id", "uuid_parsing")]),
    ("POST", ACCESS, {"json": {"reason": " because "}}, [("reason", "reason_too_short")]),
    ("POST", ACCESS, {"json": {"reason": "x" * 301}}, [("reason", "string_too_long")]),
    ("POST", "/api/container/hello/shares", {"json": {"email": "a b@c.org"}}, [("email", "invalid_email")]),
    ("POST", "/api/container/hello/share-links", {"json": {"hours": 0}}, [("hours", "greater_than_equal")]),
    ("DELETE", "/api/volumes/x", {}, [("id", "uuid_parsing")]),
    ("POST", "/api/jobs/x/cancel", {}, [("id", "uuid_parsing")]),
    ("POST", "/api/container/hello/restart", {"headers": KEY}, [("Idempotency-Key", "string_too_long")]),
    ("POST", "/api/container/hello/stop", {"headers": KEY}, [("Idempotency-Key", "string_too_long")]),
    ("DELETE", "/api/container/hello", {"headers": KEY}, [("Idempotency-Key", "string_too_long")]),
    ("DELETE", "/api/container/hello", {"params": {"volume": "both"}}, [("volume", "enum")]),
    ("GET", JOB, {"params": {"wait": 30.1}}, [("wait", "less_than_equal")]),
    ("GET", JOB, {"params": {"wait": -1}}, [("wait", "greater_than_equal")]),
    ("GET", JOB, {"params": {"wait": "nan"}}, [("wait", "less_than_equal")]),
    ("GET", JOB, {"params": {"wait": "soon"}}, [("wait", "float_parsing")]),
    ("GET", JOB, {"headers": {"If-None-Match": '"x"' * 100}}, [("If-None-Match", "string_too_long")]),
    ("GET", f"{JOB}/events", {"headers": {"Last-Event-ID": "x" * 201}}, [("Last-Event-ID", "string_too_long")]),
    ("GET", LOGS, {"params": {"tail": 2001}}, [("tail", "less_than_equal")]),
    (
        "GET",
        LOGS,
        {"params": {"tail": -1, "follow": "?"}},
        [("tail", "greater_than_equal"), ("follow", "bool_parsing")],
    ),
]


@pytest.mark.parametrize(("method", "path", "sent", "complaints"), INVALID, ids=str)
async def test_invalid_input_is_400_and_names_each_field(
    client: httpx.AsyncClient,
    resources: Resources,
    method: str,
    path: str,
    sent: dict[str, Any],
    complaints: list[tuple[str, str]],
) -> None:
    said = {}
    who = await sign_in(resources, await make_user(resources, is_admin=path.startswith("/api/admin/")))
    for language in ("en", "de-AT"):
        headers = {**who.headers, **sent.get("headers", {}), "Accept-Language": language}
        answer = await client.request(method, path, **{**sent, "headers": headers})
        assert answer.status_code == 400, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "invalid_request"
        fields = answer.json()["errors"]
        assert [(field["field"], field["code"]) for field in fields] == complaints
        assert all(set(field) == {"field", "code", "message"} for field in fields)
        said[language] = [field["message"] for field in fields]
    assert not set(said["en"]) & set(said["de-AT"])


def test_each_complaint_has_a_text_and_each_text_a_complaint() -> None:
    assert {code for *_, complaints in INVALID for _, code in complaints} == set(FIELD_TEXTS)


def test_each_text_exists_in_both_languages() -> None:
    for text in (*FIELD_TEXTS.values(), OTHER_FIELD_TEXT):
        assert text.en
        assert text.de
        assert text.en != text.de


async def test_limits_are_named_in_the_complaint(client: httpx.AsyncClient, alice: SignedIn) -> None:
    answer = await client.get("/api/jobs", params={"limit": 101}, headers=alice.headers)
    assert answer.json()["errors"][0]["message"] == "This must be 100 or less."


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient, chunked: bool) -> None:
    body = b'{"email": "' + b"a" * 66_000 + b'"}'

    async def chunks() -> Any:
        for start in range(0, len(body), 4096):
            yield body[start : start + 4096]

    content = chunks() if chunked else body
    answer = await client.post("/api/auth/signup", content=content, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
