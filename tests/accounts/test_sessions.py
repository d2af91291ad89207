"""The pages' sign-in: how it is renewed, what ends it, and what its owner sees of it."""

import asyncio

import httpx
import pytest
from sqlalchemy import func, select, update

from app.accounts import sessions
from app.accounts.principal import Client, principal_by_cookie
from app.accounts.sessions import open_session
from app.core.settings.model import Settings
from app.models import AuditEntry, Session, User, utcnow
from app.resources import Resources, open_resources
from tests.support.clocks import Time
from tests.support.factories import SignedIn, make_token, sign_in
from tests.support.statements import counted
from tests.support.waiting import SOON

SAME = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def alice(time: Time, resources: Resources) -> SignedIn:
    """Somebody who has just signed in."""
    return await sign_in(resources)


def shown(access: str | None, refresh: str | None, **more: str) -> dict[str, str]:
    """The headers of a browser that has these."""
    pairs = {"spawner_session": access, "spawner_refresh": refresh}
    return {**SAME, **more, "Cookie": "; ".join(f"{name}={value}" for name, value in pairs.items() if value)}


def given(answer: httpx.Response) -> tuple[str, str]:
    """The pair that an answer brings."""
    values = [cookie.partition(";")[0].partition("=")[2] for cookie in answer.headers.get_list("set-cookie")]
    assert len(values) == 2
    return values[0], values[1]


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/api/auth/refresh", headers=shown(None, token))


async def live(resources: Resources) -> int:
    async with resources.sessions() as session:
        return await session.scalar(select(func.count()).where(Session.ended_at.is_(None))) or 0


async def audited(resources: Resources) -> list[str]:
    async with resources.sessions() as session:
        return list(await session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))


class TestRenewing:
    async def test_the_access_cookie_alone_is_good_for_fifteen_minutes(
        self, client: httpx.AsyncClient, alice: SignedIn, time: Time
    ) -> None:
        headers = shown(alice.cookie, None)
        time.pass_(seconds=899)
        assert (await client.get("/api/user/me", headers=headers)).status_code == 200
        time.pass_(seconds=1)
        answer = await client.get("/api/user/me", headers=headers)
        assert answer.status_code == 401
        assert (await client.get("/api/user/me", headers=alice.headers)).status_code == 200

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/", 200),
            ("GET", "/api/user/me", 200),
            ("GET", "/api/jobs/7b0c3c0e-6a44-4c7e-9f0e-1f6f6d3f0a11", 404),
            ("GET", "/open/bob-hello", 404),
            ("POST", "/home/workspaces/hello/launch", 303),
            ("POST", "/api/container/hello/stop", 404),
            ("POST", "/api/auth/refresh", 204),
        ],
    )
    async def test_whatever_is_asked_for_renews_the_pair_on_its_way(
        self, client: httpx.AsyncClient, alice: SignedIn, time: Time, method: str, path: str, status: int
    ) -> None:
        time.pass_(minutes=15)
        # Some browsers have dropped the old one by now, and some show it still.
        headers = shown(alice.cookie if method == "POST" else None, alice.refresh, Accept="text/html")
        answer = await client.request(method, path, headers=headers)
        assert answer.status_code == status
        access, token = given(answer)
        assert {access, token}.isdisjoint({alice.cookie, alice.refresh})
        assert (await client.get("/api/user/me", headers=shown(access, None))).status_code == 200
        assert (await client.get("/api/user/me", headers=shown(alice.cookie, None))).status_code == 401

    async def test_nothing_is_renewed_before_its_time(
        self, client: httpx.AsyncClient, alice: SignedIn, time: Time
    ) -> None:
        time.pass_(minutes=14)
        answer = await client.get("/api/user/me", headers=shown(alice.cookie, alice.refresh))
        assert "set-cookie" not in answer.headers

    async def test_tabs_that_renew_at_about_the_same_time_get_the_same_pair(
        self, client: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time
    ) -> None:
        time.pass_(minutes=15)
        first = given(await refresh(client, alice.refresh))
        for _ in range(3):
            time.pass_(seconds=3)
            assert given(await refresh(client, alice.refresh)) == first
            assert given(await refresh(client, first[1])) == first
        assert await live(resources) == 1

    @pytest.mark.parametrize("path", ["/api/auth/refresh", "/api/user/me", "/"])
    async def test_a_pair_whose_answer_was_lost_is_handed_out_again_however_late(
        self, client: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time, path: str
    ) -> None:
        time.pass_(minutes=15)
        method = "POST" if path == "/api/auth/refresh" else "GET"
        asks = shown(alice.cookie, alice.refresh)
        lost = given(await client.request(method, path, headers=asks))
        for later in ({"seconds": 15}, {"minutes": 20}, {"hours": 3}):
            time.pass_(**later)
            assert given(await client.request(method, path, headers=asks)) == lost
        time.pass_(seconds=899)
        assert (await client.get("/api/user/me", headers=shown(lost[0], None))).status_code == 200
        assert (await live(resources), await audited(resources)) == (1, [])

    @pytest.mark.parametrize("path", ["/api/auth/refresh", "/sign-out", "/"])
    @pytest.mark.parametrize("used", ["access", "refresh"])
    async def test_a_token_whose_successor_was_used_ends_the_session_after_ten_seconds(
        self, client: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time, path: str, used: str
    ) -> None:
        time.pass_(minutes=15)
        access, token = given(await refresh(client, alice.refresh))
        time.pass_(minutes=1)
        if used == "access":
            assert (await client.get("/api/user/me", headers=shown(access, None))).status_code == 200
        else:
            access, token = given(await refresh(client, token))
            assert (await client.get("/api/user/me", headers=shown(access, None))).status_code == 200
        time.pass_(seconds=10)
        method = "GET" if path == "/" else "POST"
        late = await client.request(method, path, headers=shown(None, alice.refresh))
        assert given(late) == ('""', '""')
        for headers in (shown(access, None), shown(None, token), alice.headers):
            assert (await client.get("/api/user/me", headers=headers)).status_code == 401
        assert await live(resources) == 0
        assert await audited(resources) == ["refresh_reused"]

    async def test_a_request_that_was_under_way_when_the_successor_was_used_gets_the_same_pair(
        self, client: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time
    ) -> None:
        time.pass_(minutes=15)
        first = given(await client.get("/", headers=shown(None, alice.refresh)))
        time.pass_(minutes=5)
        assert (await client.get("/api/user/me", headers=shown(*first))).status_code == 200
        time.pass_(seconds=9)
        assert given(await client.get("/", headers=shown(None, alice.refresh))) == first
        assert await live(resources) == 1

    async def test_clocks_of_two_machines_may_differ(
        self, client: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time
    ) -> None:
        time.pass_(minutes=15)
        pair = given(await refresh(client, alice.refresh))
        time.pass_(seconds=-5)
        assert (await client.get("/api/user/me", headers=shown(*pair))).status_code == 200
        time.pass_(seconds=15)
        assert (await refresh(client, alice.refresh)).status_code == 401
        assert await audited(resources) == ["refresh_reused"]

    async def test_a_thief_who_moves_on_twice_is_found_out_all_the_same(
        self, client: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time
    ) -> None:
        token = alice.refresh
        for _ in range(3):
            time.pass_(seconds=10)
            token = given(await refresh(client, token))[1]
        assert (await refresh(client, alice.refresh)).status_code == 401
        assert (await refresh(client, token)).status_code == 401
        assert await audited(resources) == ["refresh_reused"]

    async def test_nobody_ends_a_session_with_a_token_that_was_never_its_own(
        self, client: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time
    ) -> None:
        bob = await sign_in(resources, "bob")
        time.pass_(minutes=1)
        name, family, secret = alice.refresh.split(".")
        _, other, _ = bob.refresh.split(".")
        for forged in (
            f"{name}.{other}.{secret}",
            f"{bob.session.id.hex}.{family}.{secret}",
            f"{name}.{'A' * 43}.{secret}",
            f"{name.upper()}.{family}.{secret}",
            alice.cookie,
            f"{alice.refresh}\n",
            "x" * 10_000,
            "",
        ):
            assert (await refresh(client, forged.replace("\n", " "))).status_code in (204, 401)
        assert await live(resources) == 2

    async def test_however_many_renew_at_once_there_is_one_session_and_one_pair(
        self, settings: Settings, resources: Resources, alice: SignedIn, time: Time
    ) -> None:
        token, before = alice.refresh, alice.refresh
        async with open_resources(settings) as elsewhere:
            for _ in range(8):
                time.pass_(seconds=11)
                at_once = [sessions.refresh((resources, elsewhere)[i % 2], token) for i in range(16)]
                found = await asyncio.gather(*at_once)
                pairs = {(one[1].access, one[1].refresh) for one in found if one is not None}
                assert len(pairs) == 1
                assert None not in found
                ((_, token),) = pairs
                assert token != before
                before = token
        assert await live(resources) == 1

    async def test_a_reuse_ends_the_session_also_beside_a_renewal(
        self, resources: Resources, alice: SignedIn, time: Time
    ) -> None:
        time.pass_(minutes=1)
        for who in [await sign_in(resources, f"user{i}") for i in range(6)]:
            time.pass_(seconds=11)
            first = await sessions.refresh(resources, who.refresh)
            assert first is not None
            assert await principal_by_cookie(resources, first[1].access)
            time.pass_(seconds=11)
            late, _ = await asyncio.gather(
                sessions.refresh(resources, who.refresh), sessions.refresh(resources, first[1].refresh)
            )
            assert late is None
            async with resources.sessions() as session:
                row = await session.get_one(Session, who.session.id)
            assert row.ended_at is not None

    @pytest.mark.parametrize("end", ["time", "end", "block", "delete"])
    async def test_a_session_that_is_over_is_not_renewed(
        self, client: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time, end: str
    ) -> None:
        time.pass_(seconds=resources.settings.session_seconds if end == "time" else 901)
        async with resources.unit_of_work() as session:
            match end:
                case "end":
                    await session.execute(update(Session).values(ended_at=utcnow()))
                case "block":
                    await session.execute(update(User).values(blocked_at=utcnow()))
                case "delete":
                    await session.delete(await session.get_one(User, alice.user.id))
        answer = await refresh(client, alice.refresh)
        assert (answer.status_code, answer.json()["code"]) == (401, "not_refreshed")
        assert given(answer) == ('""', '""')

    async def test_the_cookies_never_outlive_the_session(
        self, client: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time
    ) -> None:
        time.pass_(seconds=resources.settings.session_seconds - 60)
        answer = await refresh(client, alice.refresh)
        assert all("Max-Age=60;" in cookie for cookie in answer.headers.get_list("set-cookie"))

    @pytest.mark.parametrize(
        ("method", "headers", "status"),
        [
            ("POST", {"Sec-Fetch-Site": "same-site"}, 403),
            ("POST", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
            ("POST", {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example.org"}, 403),
            ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, 401),
            ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, 401),
        ],
    )
    async def test_no_other_site_moves_a_session_on(
        self,
        client: httpx.AsyncClient,
        alice: SignedIn,
        time: Time,
        method: str,
        headers: dict[str, str],
        status: int,
    ) -> None:
        time.pass_(minutes=15)
        path = "/api/auth/refresh" if method == "POST" else "/api/user/me"
        answer = await client.request(method, path, headers=shown(None, alice.refresh, **headers))
        assert answer.status_code == status
        assert "set-cookie" not in answer.headers
        time.pass_(minutes=1)
        assert (await refresh(client, alice.refresh)).status_code == 204

    async def test_a_visit_from_elsewhere_renews_like_any_other(
        self, client: httpx.AsyncClient, alice: SignedIn, time: Time
    ) -> None:
        time.pass_(minutes=15)
        came = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert given(await client.get("/", headers=shown(None, alice.refresh, **came)))

    async def test_an_answer_that_brings_new_cookies_is_not_put_off(
        self, client: httpx.AsyncClient, alice: SignedIn, time: Time
    ) -> None:
        launched = await client.post("/api/container/launch/hello", headers=alice.headers)
        url = launched.json()["status_url"]
        seen = (await client.get(url, headers=alice.headers)).headers["ETag"]
        time.pass_(minutes=15)
        headers = shown(None, alice.refresh, **{"If-None-Match": seen})
        async with asyncio.timeout(SOON):
            answer = await client.get(f"{url}?wait=30", headers=headers)
        assert answer.status_code == 304
        assert given(answer)

    async def test_a_session_from_before_there_were_refresh_tokens_signs_in_again(
        self, client: httpx.AsyncClient, resources: Resources, alice: SignedIn
    ) -> None:
        async with resources.unit_of_work() as session:
            await session.execute(update(Session).values(refresh_hash=None, refreshed_at=None))
        assert (await client.get("/api/user/me", headers=shown(alice.cookie, None))).status_code == 401
        assert (await client.get("/api/user/me", headers=alice.headers)).status_code == 200


async def test_use_is_noted_at_most_once_a_minute(
    client: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time
) -> None:
    noted = []
    for seconds in (0, 59, 1, 59, 1):
        time.pass_(seconds=seconds)
        await client.get("/api/user/me", headers=alice.headers)
        async with resources.sessions() as session:
            noted.append((await session.get_one(Session, alice.session.id)).seen_at)
    assert [(at - noted[0]).total_seconds() for at in noted] == [0, 0, 60, 60, 120]


async def test_who_calls_is_one_query(client: httpx.AsyncClient, resources: Resources, alice: SignedIn) -> None:
    token = {"Authorization": f"Bearer {await make_token(resources, alice.user, 'read')}"}
    for headers in (alice.headers, shown(alice.cookie, alice.refresh), token):
        await client.get("/api/templates", headers=headers)
        async with counted(resources.engine, resources.reader) as statements:
            assert (await client.get("/api/templates", headers=headers)).status_code == 200
        assert [statement.partition(" ")[0] for statement in statements] == ["SELECT"]


class TestListing:
    async def test_sessions_are_listed_with_device_and_address(
        self, client: httpx.AsyncClient, resources: Resources, alice: SignedIn, time: Time
    ) -> None:
        agent = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
        async with resources.unit_of_work() as session:
            await open_session(session, resources, alice.user, Client("203.0.113.9", agent))
        await sign_in(resources, "bob")
        headers = {**alice.headers, "Accept-Language": "de"}
        found = (await client.get("/api/auth/sessions", headers=headers)).json()["sessions"]
        assert {(one["device"], one["address"], one["current"]) for one in found} == {
            ("Firefox auf Linux", "203.0.113.9", False),
            ("Unbekanntes Gerät", "127.0.0.1", True),
        }

    async def test_one_is_ended_and_then_all_others(
        self, client: httpx.AsyncClient, resources: Resources, alice: SignedIn
    ) -> None:
        others = [await sign_in(resources, alice.user) for _ in range(3)]
        bob = await sign_in(resources, "bob")
        one = f"/api/auth/sessions/{others[0].session.id}"
        assert (await client.delete(one, headers=alice.headers)).status_code == 204
        assert (await client.delete(one, headers=alice.headers)).status_code == 404
        foreign = f"/api/auth/sessions/{bob.session.id}"
        assert (await client.delete(foreign, headers=alice.headers)).status_code == 404
        assert await self.who_gets_in(client, *others, alice, bob) == [False, True, True, True, True]
        assert (await client.delete("/api/auth/sessions", headers=alice.headers)).status_code == 204
        assert (await client.delete("/api/auth/sessions", headers=alice.headers)).status_code == 204
        assert await self.who_gets_in(client, *others, alice, bob) == [False, False, False, True, True]
        assert await audited(resources) == ["session_ended"] * 3

    async def who_gets_in(self, client: httpx.AsyncClient, *those: SignedIn) -> list[bool]:
        answers = [await client.get("/api/user/me", headers=who.headers) for who in those]
        return [answer.status_code == 200 for answer in answers]
