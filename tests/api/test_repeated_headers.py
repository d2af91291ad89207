"""Of two headers of which a request has one, nobody chooses: the request is refused."""

import httpx
import pytest

from app.http.middleware import SINGLE
from app.resources import Resources
from tests.support.factories import SignedIn, sign_in

OTHERS = {"content-type": "application/json", "host": "localhost:8080", "idempotency-key": "a", "last-event-id": "1"}


@pytest.mark.parametrize("second_is_good", [True, False])
async def test_two_credentials_are_none(client: httpx.AsyncClient, resources: Resources, second_is_good: bool) -> None:
    alice, bob = await sign_in(resources), await sign_in(resources, "bob")
    both = [("Authorization", f"Bearer {who.access_token}") for who in (alice, bob)]
    junk = ("Authorization", "Bearer x")
    for headers in (
        both,
        [both[0], junk],
        [junk, both[0]],
        [both[0], both[0]],
        [both[0], ("authorization", "Basic x")],
    ):
        for method, path in (("GET", "/api/user/me"), ("POST", "/api/container/launch/hello"), ("GET", "/")):
            answer = await client.request(method, path, headers=headers if second_is_good else headers[::-1])
            assert answer.status_code == 400
            assert answer.json()["code"] == "repeated_header"
            assert "authorization" in answer.json()["detail"]
    assert (await client.get("/api/user/me", headers=both[:1])).json()["user"]["slug"] == "alice"


@pytest.mark.parametrize("name", sorted(OTHERS))
async def test_nothing_that_decides_is_said_twice(client: httpx.AsyncClient, resources: Resources, name: str) -> None:
    alice: SignedIn = await sign_in(resources)
    headers = [*alice.headers.items(), (name, OTHERS[name]), (name, f"{OTHERS[name]}x")]
    answer = await client.post("/api/container/launch/hello", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "repeated_header")
    assert {one.encode() for one in (*OTHERS, "authorization")} == SINGLE


async def test_what_may_come_in_several_lines_does(client: httpx.AsyncClient, resources: Resources) -> None:
    alice = await sign_in(resources)
    cookies = [("Cookie", "other=1"), ("Cookie", f"spawner_session={alice.cookie}")]
    languages = [("Accept-Language", "de"), ("Accept-Language", "en"), ("Accept", "text/html"), ("Accept", "*/*")]
    assert (await client.get("/api/user/me", headers=[*cookies, *languages])).status_code == 200
