"""The browser that asked is recognised; another one is told less."""

import httpx
import pytest
from sqlalchemy import func, select

from app.accounts.device_cookie import DeviceCookie, device_cookie_name, is_trusted, mark_trusted, read_device_cookie
from app.accounts.emails import masked
from app.core.settings.model import Settings
from app.models import LinkRequest, MagicLink
from app.resources import Resources
from app.security.tokens import Tokens
from tests.conftest import TestWorker
from tests.support.emails import Inbox
from tests.support.factories import make_link, make_user

ALICE = "alice@example.org"
COOKIE = "spawner_browser"


async def ask(client: httpx.AsyncClient, path: str = "signup", address: str = ALICE) -> httpx.Response:
    return await client.post(f"/api/auth/{path}", json={"email": address})


async def look(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/api/auth/link", json={"token": token})


@pytest.mark.parametrize("path", ["signup", "login"])
async def test_a_browser_that_asks_gets_a_cookie_once(client: httpx.AsyncClient, path: str) -> None:
    cookie = (await ask(client, path)).headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    for attribute in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=31536000"):
        assert attribute in cookie
    assert "set-cookie" not in (await ask(client, path)).headers


@pytest.mark.parametrize("shown", ["", "x", "a" * 44, "a" * 42 + "!", f"{'a' * 43}.zz", f"{'a' * 43}.{'a' * 33}"])
async def test_a_cookie_of_another_form_is_none_of_ours(client: httpx.AsyncClient, shown: str) -> None:
    answer = await client.post("/api/auth/login", json={"email": ALICE}, headers={"Cookie": f"{COOKIE}={shown}"})
    assert answer.headers["set-cookie"].startswith(f"{COOKIE}=")


def test_over_tls_the_cookie_is_bound_to_its_host() -> None:
    settings = Settings(
        _env_file=None,
        secret_key="a secret of the tests 0123456789",
        public_url="https://x.example",
        trusted_proxies="none",
    )
    assert device_cookie_name(settings) == "__Host-spawner_browser"


async def test_the_browser_that_asked_is_told_the_address_and_another_one_a_part_of_it(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    await ask(client)
    await worker.drain()
    token = inbox.token(ALICE)
    assert (await look(client, token)).json() == {"recognised": True, "address": ALICE, "next": None}
    client.cookies.clear()
    for _ in range(2):
        masked = {"recognised": False, "address": "a•••@example.org", "next": None}
        assert (await look(client, token)).json() == masked
        await ask(client, address="mallory@example.org")
    async with resources.sessions() as session:
        assert await session.scalar(select(func.count()).where(MagicLink.spent_at.is_not(None))) == 0
    assert (await client.post("/api/auth/verify", json={"token": token})).status_code == 200


async def test_a_link_that_is_unknown_over_or_used_is_invalid_to_look_at(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    user = await make_user(resources)
    used = await make_link(resources, user)
    assert (await client.post("/api/auth/verify", json={"token": used})).status_code == 200
    over = await make_link(resources, user, seconds=-1)
    for token in ("x", used, over):
        answer = await look(client, token)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_link")
    for method in ("GET", "HEAD"):
        assert (await client.request(method, "/api/auth/link")).status_code == 405


async def test_a_link_that_no_browser_asked_for_is_recognised_by_none(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    token = await make_link(resources, await make_user(resources))
    assert not (await look(client, token)).json()["recognised"]


def test_a_mask_keeps_the_domain_and_one_letter() -> None:
    assert [masked(address) for address in (ALICE, "a@b.example")] == ["a•••@example.org", "a•••@b.example"]


async def test_a_flood_ends_neither_a_working_link_nor_a_session(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, inbox: Inbox
) -> None:
    await make_user(resources)
    await ask(client)
    await worker.drain()
    first = inbox.token(ALICE)
    assert (await client.post("/api/auth/verify", json={"token": first})).status_code == 200
    await ask(client)
    await worker.drain()
    working = inbox.token(ALICE)
    stranger = {"Cookie": ""}
    answers = [
        await client.post(f"/api/auth/{path}", json={"email": ALICE}, headers=stranger)
        for path in ("signup", "login") * 10
    ]
    assert sorted({answer.status_code for answer in answers}) == [200, 429]
    await worker.drain()
    assert (await client.get("/api/user/me")).status_code == 200
    assert (await client.post("/api/auth/verify", json={"token": working})).status_code == 200


async def test_a_flood_keeps_nobody_out_who_has_signed_in_in_their_browser_before(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    token = await make_link(resources, await make_user(resources))
    assert (await client.post("/api/auth/verify", json={"token": token})).status_code == 200
    known = {COOKIE: client.cookies[COOKIE]}
    client.cookies.clear()
    answers = [(await ask(client)).status_code for _ in range(5)]
    assert answers == [200, 200, 200, 429, 429]
    headers = {"Cookie": f"{COOKIE}={known[COOKIE]}"}
    hers = [await client.post("/api/auth/login", json={"email": ALICE}, headers=headers) for _ in range(4)]
    assert [answer.status_code for answer in hers] == [200, 200, 200, 429]
    other = await client.post("/api/auth/login", json={"email": "bob@example.org"}, headers=headers)
    assert other.status_code == 200
    async with resources.sessions() as session:
        assert await session.scalar(select(func.count(LinkRequest.id)).where(~LinkRequest.renewal)) == 7


async def test_a_browser_is_known_for_the_address_that_it_signed_in_as_alone(resources: Resources) -> None:
    tokens = resources.tokens
    hers = mark_trusted(tokens, read_device_cookie(None), ALICE)
    assert is_trusted(tokens, read_device_cookie(hers.cookie), ALICE)
    assert not is_trusted(tokens, hers, "bob@example.org")
    assert not is_trusted(tokens, DeviceCookie(read_device_cookie(None).token, hers.marks), ALICE)
    assert not is_trusted(tokens, read_device_cookie(hers.token), ALICE)


async def test_a_browser_is_known_for_every_account_of_its_people_up_to_eight(resources: Resources) -> None:
    tokens, browser = resources.tokens, read_device_cookie(None)
    addresses = [f"user{i}@example.org" for i in range(9)]
    for address in addresses[:8]:
        browser = mark_trusted(tokens, read_device_cookie(browser.cookie), address)
    browser = mark_trusted(tokens, browser, addresses[0])
    assert all(is_trusted(tokens, read_device_cookie(browser.cookie), address) for address in addresses[:8])
    browser = read_device_cookie(mark_trusted(tokens, browser, addresses[8]).cookie)
    # The one that was used longest ago is forgotten.
    assert [is_trusted(tokens, browser, address) for address in addresses] == [i != 1 for i in range(9)]
    assert len(browser.cookie) < 320
    assert read_device_cookie(f"{browser.cookie}.{'0' * 32}").is_new


async def test_a_second_account_in_a_browser_leaves_the_first_one_known(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    for name in ("alice", "bob"):
        token = await make_link(resources, await make_user(resources, name))
        assert (await client.post("/api/auth/verify", json={"token": token})).status_code == 200
    shown = {"Cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
    for address in (ALICE, "bob@example.org"):
        flood = [
            await client.post("/api/auth/login", json={"email": address}, headers={"Cookie": ""}) for _ in range(4)
        ]
        assert flood[-1].status_code == 429
        assert (await client.post("/api/auth/login", json={"email": address}, headers=shown)).status_code == 200


async def test_a_mark_of_a_replaced_secret_is_made_anew_and_not_beside(settings: Settings) -> None:
    first, second = "a secret of the tests 0123456789", "another secret of the tests 01234"
    old = Tokens(settings.model_copy(update={"secret_key": first}))
    new = Tokens(settings.model_copy(update={"secret_key": f"{second}\n{first}"}))
    browser = mark_trusted(old, read_device_cookie(None), ALICE)
    assert is_trusted(new, browser, ALICE)
    renewed = mark_trusted(new, browser, ALICE)
    assert (len(renewed.marks), is_trusted(old, renewed, ALICE)) == (1, False)
