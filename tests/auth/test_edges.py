"""The exact edges of what signing in accepts: one step further is another answer."""

import time

import httpx
import pytest
from sqlalchemy import select
from starlette.requests import Request

from app.accounts.emails import domain_of, normalise
from app.accounts.errors import InvalidAddress
from app.accounts.principal import Principal, confirm
from app.core.errors import Unauthorized
from app.core.settings.model import Settings
from app.http.negotiation import navigates as is_navigation
from app.models import MagicLink, Session
from app.resources import Resources
from app.security.errors import ClientRateLimited, RateLimited
from app.security.rate_limits import LinkLimits
from tests.api.conftest import serving
from tests.support.clocks import Time
from tests.support.factories import make_link, make_user, sign_in

LONG_DOMAIN = ".".join(["d" * 61, "d" * 61, "d" * 61, "org"])


class TestAddresses:
    def test_length_is_counted_in_bytes_to_the_last(self) -> None:
        fits = "a" * (254 - len(LONG_DOMAIN) - 1)
        assert len(f"{fits}@{LONG_DOMAIN}") == 254
        assert normalise(f"{fits}@{LONG_DOMAIN}")
        with pytest.raises(InvalidAddress):
            normalise(f"{fits}a@{LONG_DOMAIN}")
        with pytest.raises(InvalidAddress):
            normalise(f"{fits[:-1]}é@{LONG_DOMAIN}".replace("é", "ééé"))

    def test_spaces_around_are_tidied_up_to_a_bound(self) -> None:
        assert normalise("alice@example.org".ljust(1000)) == "alice@example.org"
        with pytest.raises(InvalidAddress):
            normalise("alice@example.org".ljust(1001))

    @pytest.mark.parametrize("around", ["\t", "\n", "\u2028", "\x7f", "\x1f", "X\x00"])
    def test_nothing_but_spaces_is_tidied(self, around: str) -> None:
        for raw in (f"alice@example.org{around}", f"{around}alice@example.org"):
            with pytest.raises(InvalidAddress):
                normalise(raw)

    def test_letters_at_the_ends_stay(self) -> None:
        assert normalise("Xalice@example.XX") == "xalice@example.xx"

    @pytest.mark.parametrize(
        "inside", [" ", "\x7f", ",", ";", ":", '"', "`", "<", ">", "(", ")", "[", "]", "\\", "−", "€"]
    )
    def test_syntax_and_signs_are_refused_wherever_they_stand(self, inside: str) -> None:
        for raw in (f"al{inside}ice@example.org", f"alice@exa{inside}mple.org", f"{inside}@example.org"):
            with pytest.raises(InvalidAddress):
                normalise(raw)

    def test_the_domain_is_what_follows_the_sign(self) -> None:
        assert domain_of("alice@example.org") == "example.org"


class TestNavigation:
    @pytest.mark.parametrize(
        ("accept", "navigates"),
        [
            (None, False),
            ("", False),
            ("text/html", True),
            ("TEXT/HTML", True),
            ("text/*", True),
            ("application/xhtml+xml", True),
            ("*/*", False),
            ("application/*", False),
            ("image/png", False),
            ("text/html, application/json", False),
            ("text/html, */*", True),
            ("text/html, application/*", True),
            ("text/html;level=1;q=0.5, application/json;q=0.4", True),
            ("text/html;q=0.4, application/json;v=1;q=0.5", False),
            ("text/html;q=0.9, */*;q=0.8", True),
            ("text/html;q=1, application/json", False),
            ("text/html;q=none, application/json;q=0.9", True),
            ("text/html, application/json;q=1.5", False),
            ("text/html;x=q=0.1, application/json;q=0.5", True),
            ("image/png," * 100 + "text/html", False),
        ],
    )
    def test_is_told_by_what_a_browser_wants_most(self, accept: str | None, navigates: bool) -> None:
        headers = [(b"accept", accept.encode())] if accept is not None else []
        assert is_navigation(Request({"type": "http", "headers": headers})) is navigates

    def test_is_told_by_the_browser_itself(self) -> None:
        headers = [(b"sec-fetch-mode", b"navigate"), (b"accept", b"application/json")]
        assert is_navigation(Request({"type": "http", "headers": headers}))


async def test_the_cookie_over_tls_is_for_this_host_and_these_pages_alone(
    settings: Settings, resources: Resources, time: Time
) -> None:
    token = await make_link(resources, await make_user(resources))
    secure = settings.model_copy(update={"public_url": "https://spawner.example.org", "session_seconds": 43200})
    async with serving(secure) as client:
        answer = await client.post("/api/auth/verify", json={"token": token})
    kept = {}
    for cookie in answer.headers.get_list("set-cookie"):
        name, _, attributes = cookie.partition("=")
        given = set(attributes.lower().split("; ")[1:])
        kept[name] = given - {"httponly", "path=/", "samesite=lax", "secure"}
        assert len(given) == 5, name
    assert kept == {
        "__Host-spawner_browser": {f"max-age={365 * 24 * 3600}"},
        "__Host-spawner_session": {"max-age=900"},
        "__Host-spawner_refresh": {"max-age=43200"},
    }


async def test_a_session_is_confirmed_until_it_ends(resources: Resources) -> None:
    alice, bob = await sign_in(resources), await sign_in(resources, "bob")
    await confirm(resources, Principal(alice.user, alice.session.id))
    async with resources.unit_of_work() as session:
        (await session.get_one(Session, alice.session.id)).ended_at = alice.session.created_at
    with pytest.raises(Unauthorized):
        await confirm(resources, Principal(alice.user, alice.session.id))
    await confirm(resources, Principal(bob.user, bob.session.id))


async def test_a_links_and_a_sessions_times_are_those_of_the_spending(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    before = time.time()
    token = await make_link(resources, await make_user(resources))
    await client.post("/api/auth/verify", json={"token": token})
    async with resources.sessions() as session:
        spent = (await session.scalars(select(MagicLink.spent_at))).one()
        opened = (await session.scalars(select(Session.created_at))).one()
    assert spent is not None
    assert before <= spent.timestamp() <= time.time()
    assert before <= opened.timestamp() <= time.time()


async def test_who_asks_too_often_may_come_back_when_the_window_has_moved(
    settings: Settings, resources: Resources
) -> None:
    limits = LinkLimits(settings, resources.tokens, resources.redis)
    for _ in range(settings.magic_links_per_hour):
        await limits.count("alice@example.org", "127.0.0.1")
    with pytest.raises(RateLimited) as refused:
        await limits.count("alice@example.org", "127.0.0.1")
    assert 3590 < int(refused.value.headers["Retry-After"]) <= 3601


async def test_a_client_without_an_address_is_counted_like_any_other(settings: Settings, resources: Resources) -> None:
    few = settings.model_copy(update={"magic_links_per_hour_client": 2})
    limits = LinkLimits(few, resources.tokens, resources.redis)
    for number in range(2):
        await limits.count(f"user{number}@example.org", "a-socket")
    with pytest.raises(ClientRateLimited):
        await limits.count("user3@example.org", "a-socket")
