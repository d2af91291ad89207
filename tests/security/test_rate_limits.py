"""How often links may be asked for, over HTTP and a real Redis."""

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from app.core.settings.model import Settings
from app.main import create_app
from app.models import LinkRequest
from app.resources import Resources, open_resources
from app.security.errors import ClientRateLimited, RateLimited
from app.security.rate_limits import MAX_BROWSERS, MAX_NETWORKS, LinkLimits


async def ask(client: httpx.AsyncClient, address: str, path: str = "login") -> httpx.Response:
    return await client.post(f"/api/auth/{path}", json={"email": address})


async def count_requests(resources: Resources) -> int:
    async with resources.sessions() as session:
        return await session.scalar(select(func.count(LinkRequest.id)).where(~LinkRequest.renewal)) or 0


async def test_the_fourth_link_in_an_hour_is_refused(client: httpx.AsyncClient, resources: Resources) -> None:
    variants = ["alice@example.org", "ALICE@example.org", "ａlice@Example.Org"]
    assert [(await ask(client, address)).status_code for address in variants] == [200, 200, 200]
    for path in ("login", "signup"):
        answer = await ask(client, "Alice@EXAMPLE.org", path)
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert 3500 < int(answer.headers["retry-after"]) <= 3600
    assert await count_requests(resources) == 3
    assert (await ask(client, "bob@example.org")).status_code == 200


async def age(resources: Resources, *seconds: float) -> None:
    """Let the counted requests, the newest first, be as old as that."""
    redis: Any = resources.redis
    keys = [key for key in await redis.keys("*") if b"address" in key]
    for key in keys:
        for place, old in enumerate(seconds):
            await redis.lset(key, place, str(time.time() - old))


async def test_at_the_windows_edge_each_request_frees_one_place_an_hour_later(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    for _ in range(3):
        await ask(client, "alice@example.org")
    await age(resources, 1, 3590, 3595)
    refused = await ask(client, "alice@example.org")
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    # No burst of six around the turn of an hour: of three that are counted one has left the window.
    await age(resources, 1, 3590, 3601)
    assert [(await ask(client, "alice@example.org")).status_code for _ in range(3)] == [200, 429, 429]
    await age(resources, 1, 3601, 3602)
    assert [(await ask(client, "alice@example.org")).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(
    "variants",
    [
        ("Jörg@Müller.example", "jo\u0308rg@xn--mller-kva.example", "ＪÖRG@müller。example"),
        ("kelvin@example.org", "\u212aelvin@EXAMPLE.org", "ｋｅｌｖｉｎ＠example.org"),
        ("straße@straße.example", "Straße@straße.example", "STRAẞE@xn--strae-oqa.example"),
    ],
    ids=["IDN", "NFKC", "folded"],
)
async def test_variants_of_one_address_share_its_count(client: httpx.AsyncClient, variants: tuple[str, ...]) -> None:
    assert [(await ask(client, address)).status_code for address in variants] == [200] * 3
    assert {(await ask(client, address)).status_code for address in variants} == {429}


async def test_a_dot_a_suffix_or_a_sharp_s_makes_another_address(client: httpx.AsyncClient) -> None:
    others = ("jo.hn@example.org", "john@example.org", "john+x@example.org", "weiss@example.org", "weiß@example.org")
    for address in others:
        assert [(await ask(client, address)).status_code for _ in range(4)] == [200, 200, 200, 429]


async def test_an_invalid_address_counts_for_nobody(client: httpx.AsyncClient, resources: Resources) -> None:
    for _ in range(5):
        answer = await ask(client, "alice@example.org, bob@example.org")
        assert answer.status_code == 400
    assert await resources.redis.keys("*:limits*") == []


async def test_no_address_stands_in_redis(client: httpx.AsyncClient, resources: Resources) -> None:
    await ask(client, "alice@example.org")
    redis: Any = resources.redis
    read = {
        b"string": redis.get,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"zset": lambda key: redis.zrange(key, 0, -1),
    }
    keys = await redis.keys("*")
    assert len(keys) >= 2
    for key in keys:
        assert "alice" not in f"{key} {await read[await redis.type(key)](key)}"


async def test_a_client_has_a_limit_of_its_own(settings: Settings, resources: Resources) -> None:
    limits = limits_for(settings, resources, magic_links_per_hour_client=3)
    for number in range(3):
        await limits.count(f"user{number}@example.org", "192.0.2.7")
    with pytest.raises(ClientRateLimited) as refused:
        await limits.count("user3@example.org", "192.0.2.7")
    assert 3500 < int(refused.value.headers["Retry-After"]) <= 3600
    await limits.count("user3@example.org", "192.0.2.8")


async def test_browsers_that_each_mail_made_known_multiply_no_mails(settings: Settings, resources: Resources) -> None:
    limits = limits_for(settings, resources, magic_links_per_hour=1)
    for number in range(MAX_BROWSERS):
        await limits.count("alice@example.org", "192.0.2.7", known_browser=f"browser{number}")
    with pytest.raises(RateLimited):
        await limits.count("alice@example.org", "192.0.2.7", known_browser="another")
    await limits.count("bob@example.org", "192.0.2.7", known_browser="another")


async def test_a_client_over_its_limit_leaves_the_address_its_own(settings: Settings, resources: Resources) -> None:
    limits = limits_for(settings, resources, magic_links_per_hour_client=1)
    await limits.count("bob@example.org", "192.0.2.7")
    for _ in range(5):
        with pytest.raises(ClientRateLimited):
            await limits.count("alice@example.org", "192.0.2.7")
    await limits.count("alice@example.org", "192.0.2.8")


async def test_addresses_of_one_ipv6_subscriber_count_as_one(settings: Settings, resources: Resources) -> None:
    limits = limits_for(settings, resources, magic_links_per_hour_client=1)
    await limits.count("a@example.org", "2001:db8:1:2::1")
    with pytest.raises(ClientRateLimited):
        await limits.count("b@example.org", "2001:db8:1:2:ffff::9")
    await limits.count("b@example.org", "2001:db8:1:3::1")
    await limits.count("c@example.org", "192.0.2.1")
    with pytest.raises(ClientRateLimited):
        await limits.count("d@example.org", "::ffff:192.0.2.1")


async def test_a_site_that_takes_another_ipv6_network_for_each_request_comes_to_an_end(
    settings: Settings, resources: Resources
) -> None:
    limits = limits_for(settings, resources, magic_links_per_hour_client=1)
    for number in range(MAX_NETWORKS):
        await limits.count(f"user{number}@example.org", f"2001:db8:1:{number:x}::1")
    with pytest.raises(ClientRateLimited):
        await limits.count("bob@example.org", "2001:db8:1:ffff::1")
    await limits.count("bob@example.org", "2001:db8:2::1")


async def test_a_loopback_client_is_not_counted_in_development_only(settings: Settings, resources: Resources) -> None:
    lenient = limits_for(settings, resources, magic_links_per_hour_client=1)
    for number in range(5):
        await lenient.count(f"user{number}@example.org", ("127.0.0.1", "::1", "127.9.9.9")[number % 3])
    strict = limits_for(settings, resources, magic_links_per_hour_client=1, environment="production")
    await strict.count("user6@example.org", "127.0.0.1")
    with pytest.raises(ClientRateLimited):
        await strict.count("user7@example.org", "127.0.0.1")


async def test_a_class_behind_one_address_gets_in(settings: Settings, resources: Resources) -> None:
    """A hundred people, each of whom asks as often as one may."""
    limits = limits_for(settings, resources, environment="production")
    for number in range(100):
        for _ in range(settings.magic_links_per_hour):
            await limits.count(f"user{number}@example.org", "203.0.113.9")


@pytest.mark.parametrize(
    ("client", "exempt"),
    [
        ("203.0.113.9", True),
        ("::ffff:203.0.113.9", True),
        ("2001:db8:1:2::7", True),
        ("198.51.100.7", True),
        ("203.0.114.9", False),
        ("2001:db8:2::7", False),
        ("198.51.100.8", False),
        ("a-socket", False),
        ("", False),
    ],
)
async def test_networks_that_are_exempt_have_no_limit(
    settings: Settings, resources: Resources, client: str, exempt: bool
) -> None:
    networks = ["203.0.113.0/24", "2001:db8:1::/48", "198.51.100.7"]
    changes = {"magic_links_per_hour_client": 1, "magic_links_exempt_networks": networks, "environment": "production"}
    limits = limits_for(settings, resources, **changes)
    await limits.count("a@example.org", client)
    if exempt:
        await limits.count("b@example.org", client)
        for _ in range(2):
            await limits.count("a@example.org", client)
        with pytest.raises(RateLimited):
            await limits.count("a@example.org", client)
    else:
        with pytest.raises(ClientRateLimited):
            await limits.count("b@example.org", client)


def limits_for(settings: Settings, resources: Resources, **changes: object) -> LinkLimits:
    return LinkLimits(settings.model_copy(update=changes), resources.tokens, resources.redis)


@pytest.fixture
async def app_without_redis(settings: Settings, app: FastAPI) -> AsyncIterator[FastAPI]:
    """The API while nothing listens where Redis should be."""
    broken = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with open_resources(broken) as opened:
        application = create_app(broken)
        application.state.resources = opened
        application.state.watch = app.state.watch
        yield application


async def test_without_redis_nobody_is_unlimited(app_without_redis: FastAPI, resources: Resources) -> None:
    transport = httpx.ASGITransport(app=app_without_redis)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
        for path in ("signup", "login"):
            answer = await ask(client, "alice@example.org", path)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["retry-after"] == "5"
    assert await count_requests(resources) == 0
