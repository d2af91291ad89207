"""Personal tokens: their life, and what each scope opens on every route there is."""

import asyncio
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import ValidationError
from sqlalchemy import select, update

from app.accounts.dependencies import OptionalUserDep, UserDep
from app.accounts.errors import MAX_TOKENS
from app.accounts.principal import confirm, principal_by_bearer
from app.accounts.schemas import TokenIn
from app.core.errors import Unauthorized
from app.models import ApiToken, AuditEntry, User, utcnow
from app.resources import Resources
from tests.api.operations import OPERATIONS, PERSON
from tests.support.clocks import Time
from tests.support.factories import SignedIn, make_token, make_user, sign_in

# Pages and files that ask nobody who they are; other pages ask, and no token opens any.
OPEN = {
    "/openapi.json",
    "/docs",
    "/docs/oauth2-redirect",
    "/static-docs",
    "/static",
    "/internal/serving",
    "POST /sign-in",
    "/check-mail",
    "/auth/confirm",
}
SCOPES = {one.address: one.scopes for one in OPERATIONS.values()}
VALUES = {
    "{type}": "hello",
    "{change:standing}": "block",
    "{type:template}": "hello",
    "{route}": "alice-hello",
    "{kind}": "launch",
}
NOWHERE = "7b0c3c0e-6a44-4c7e-9f0e-1f6f6d3f0a11"
SAME = {"Sec-Fetch-Site": "same-origin"}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and path that the app answers, of pages and files too."""
    for context in iter_route_contexts(app.routes):
        path = context.path
        assert path is not None
        for method in sorted(context.methods or {"GET"}):
            yield method, path


def demanded(method: str, path: str) -> set[str] | None:
    """The scopes of which one is enough; None where nobody is asked."""
    page = None if path in OPEN or f"{method} {path}" in OPEN else set[str]()
    read = method.replace("HEAD", "GET")
    return SCOPES.get(f"{read} {re.sub(r':[a-z]+}', '}', path)}", page)


def fill(path: str) -> str:
    for name, value in VALUES.items():
        path = path.replace(name, value)
    return path.replace("{id}", NOWHERE).replace("{session_id}", NOWHERE).replace("{path:path}", "x")


async def test_each_route_opens_to_the_scopes_that_it_names_and_to_no_other(
    app: FastAPI, client: httpx.AsyncClient, resources: Resources
) -> None:
    root = await make_user(resources, is_admin=True)
    secrets = {scope: await make_token(resources, root, scope) for scope in ("read", "workspaces", "admin")}
    walked = set(routes(app))
    assert set(SCOPES) <= {f"{method} {re.sub(r':[a-z]+}', '}', path)}" for method, path in walked}
    # In this order nothing is there yet when its log is asked for.
    for method, path in sorted(walked):
        scopes = demanded(method, path)
        if scopes is None:
            continue
        for scope, secret in secrets.items():
            answer = await client.request(method, fill(path), headers={**bearer(secret), **SAME})
            refused = "insufficient_scope" in answer.headers.get("WWW-Authenticate", "")
            assert refused == (scope not in scopes), (method, path, scope, answer.status_code)
            assert refused == (answer.status_code == 403), (method, path, scope, answer.text)


async def test_a_route_that_names_no_scope_refuses_every_token(
    app: FastAPI, client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    @app.get("/api/forgotten")
    async def forgotten(_: UserDep) -> None: ...

    @app.get("/api/forgotten/too")
    async def too(_: OptionalUserDep) -> None: ...

    secret = await make_token(resources, alice.user, "read", "workspaces", "admin")
    for path in ("/api/forgotten", "/api/forgotten/too"):
        answer = await client.get(path, headers=bearer(secret))
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope"'
        assert (await client.get(path, headers=alice.headers)).status_code == 200


async def test_no_token_makes_lists_or_ends_tokens_and_sessions(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    secret = await make_token(resources, await make_user(resources, is_admin=True), "read", "workspaces", "admin")
    names = [name for name, one in OPERATIONS.items() if one.who is PERSON and one.path.startswith("/api/auth/")]
    assert len(names) == 7
    for name in names:
        answer = await client.request(OPERATIONS[name].method, OPERATIONS[name].url({}), headers=bearer(secret))
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope"), name


async def test_a_refusal_names_the_scope_that_would_do(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    secret = await make_token(resources, alice.user, "read")
    answer = await client.post("/api/container/launch/hello", headers=bearer(secret))
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="workspaces"'


async def test_a_token_is_shown_once_and_works_until_it_is_revoked(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    body: dict[str, Any] = {"name": "  my \t backup ", "scopes": ["read", "read"], "days": 30}
    made = (await client.post("/api/auth/tokens", json=body, headers=alice.headers)).json()
    secret = made.pop("token")
    assert secret.startswith("spawner_")
    assert (made["name"], made["scopes"]) == ("my backup", ["read"])
    assert (await client.get("/api/user/me", headers=bearer(secret))).json()["user"]["email"] == alice.user.email
    listed = await client.get("/api/auth/tokens", headers=alice.headers)
    assert secret not in listed.text
    assert [one["id"] for one in listed.json()["tokens"]] == [made["id"]]
    assert listed.json()["tokens"][0]["used_at"] is not None
    async with resources.sessions() as session:
        row = (await session.scalars(select(ApiToken))).one()
        kept = [value for value in vars(row).values() if isinstance(value, bytes | str)]
    assert not any(secret.encode() in (value if isinstance(value, bytes) else value.encode()) for value in kept)

    bob = await sign_in(resources, "bob")
    path = f"/api/auth/tokens/{made['id']}"
    assert (await client.delete(path, headers=bob.headers)).status_code == 404
    assert (await client.delete(path, headers=alice.headers)).status_code == 204
    assert (await client.delete(path, headers=alice.headers)).status_code == 404
    assert (await client.get("/api/user/me", headers=bearer(secret))).status_code == 401
    assert (await client.get("/api/auth/tokens", headers=alice.headers)).json() == {"tokens": []}
    async with resources.sessions() as session:
        entries = (await session.scalars(select(AuditEntry).order_by(AuditEntry.id))).all()
    assert [entry.action for entry in entries] == ["token_made", "token_revoked"]
    assert secret not in "".join(entry.detail or "" for entry in entries)


@pytest.mark.parametrize("end", ["expired", "revoked", "blocked"])
async def test_what_is_over_is_refused_also_in_the_middle_of_a_stream(
    resources: Resources, alice: SignedIn, end: str
) -> None:
    secret = await make_token(resources, alice.user, "read")
    bob = await make_user(resources, "bob")
    await make_token(resources, bob, "read")
    caller = await principal_by_bearer(resources, secret)
    assert caller is not None
    await confirm(resources, caller)
    statement = {
        "expired": update(ApiToken).where(ApiToken.user_id == alice.user.id).values(expires_at=utcnow()),
        "revoked": update(ApiToken).where(ApiToken.user_id == alice.user.id).values(revoked_at=utcnow()),
        "blocked": update(User).where(User.id == alice.user.id).values(blocked_at=utcnow()),
    }[end]
    async with resources.unit_of_work() as session:
        await session.execute(statement)
    assert await principal_by_bearer(resources, secret) is None
    with pytest.raises(Unauthorized):
        await confirm(resources, caller)


async def test_an_admin_scope_is_worth_what_the_account_is_at_that_moment(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    root = await make_user(resources, "root", is_admin=True)
    secret = await make_token(resources, root, "admin")
    assert (await client.get("/api/admin/overview", headers=bearer(secret))).status_code == 200
    async with resources.unit_of_work() as session:
        await session.execute(update(User).values(is_admin=False))
    answer = await client.get("/api/admin/overview", headers=bearer(secret))
    assert (answer.status_code, answer.json()["code"]) == (403, "not_admin")


async def test_use_is_noted_at_most_once_a_minute(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    secret = await make_token(resources, alice.user, "read")

    async def used() -> Any:
        await client.get("/api/user/me", headers=bearer(secret))
        async with resources.sessions() as session:
            return await session.scalar(select(ApiToken.used_at))

    first = await used()
    assert await used() == first
    async with resources.unit_of_work() as session:
        await session.execute(update(ApiToken).values(used_at=first - timedelta(seconds=61)))
    assert await used() > first


@pytest.mark.parametrize("secret", ["spawner_", "spawner_x", "spawner_" + "A" * 43, "spawner_" + "x" * 10_000])
async def test_what_only_looks_like_a_token_is_refused(client: httpx.AsyncClient, secret: str) -> None:
    assert (await client.get("/api/user/me", headers=bearer(secret))).status_code == 401


@pytest.mark.parametrize("is_admin", [True, False])
async def test_only_admins_make_tokens_for_admins(
    client: httpx.AsyncClient, resources: Resources, is_admin: bool
) -> None:
    alice = await sign_in(resources, await make_user(resources, is_admin=is_admin))
    for scopes, status in ((["read"], 201), (["admin"], 201 if is_admin else 403)):
        body = {"name": "backup", "scopes": scopes, "days": 1}
        assert (await client.post("/api/auth/tokens", json=body, headers=alice.headers)).status_code == status


async def test_of_many_made_at_once_no_more_than_the_last_place_allows(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn
) -> None:
    for _ in range(MAX_TOKENS - 1):
        await make_token(resources, alice.user, "read")
    body = {"name": "backup", "scopes": ["read"], "days": 1}
    answers = await asyncio.gather(
        *(client.post("/api/auth/tokens", json=body, headers=alice.headers) for _ in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"name": " \t"}, "string_too_short", "must not be empty"),
        ({"name": "a\u202eb"}, "string_unicode", "must be printable"),
        ({"days": None}, "one_end", "either days or expires_at"),
        ({"expires_at": "2999-01-01T00:00:00Z"}, "one_end", "either days or expires_at"),
        ({"days": None, "expires_at": "2999-01-01T00:00:00Z"}, "bad_end", "must lie ahead, at most a year"),
        ({"days": None, "expires_at": "1999-01-01T00:00:00Z"}, "bad_end", "must lie ahead, at most a year"),
    ],
)
def test_what_makes_no_token_says_why(changes: dict[str, Any], kind: str, message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TokenIn.model_validate({"name": "backup", "scopes": ["read"], "days": 1, **changes})
    assert [(error["type"], error["msg"]) for error in refused.value.errors()] == [(kind, message)]


def test_a_tokens_end_lies_ahead_and_within_a_year(time: Time) -> None:
    def made(**end: object) -> TokenIn:
        return TokenIn.model_validate({"name": " my \t backup ", "scopes": ["read"], **end})

    assert made(days=365).end == time.now + timedelta(days=365)
    assert made(days=1).name == "my backup"
    for good in (time.now + timedelta(microseconds=1), time.now + timedelta(days=365)):
        assert made(expires_at=good).end == good
    for bad in (time.now, time.now + timedelta(days=365, microseconds=1)):
        with pytest.raises(ValidationError):
            made(expires_at=bad)
