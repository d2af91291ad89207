"""What the gateway answers to what other sites send: websockets, requests, frames, forms and the cookies they carry."""

from dataclasses import replace
from typing import Any

import pytest

from app.accounts.principal import Principal
from app.catalog.templates import Catalog
from app.core.errors import Forbidden, MethodNotAllowed
from app.gateway.decide import Allow, ErrorPage
from app.gateway.errors import NotEntered, OpenInTab, SentFromElsewhere
from app.gateway.origin_handoff import make_code
from app.security.tokens import new_token
from tests.support.gate import ADMITTED, OWN, Gate

MOODLE, LOGIN = "https://moodle.example.org", "https://login.example.org"


class TestOrigins:
    @pytest.mark.parametrize("method", ["GET", "CONNECT"])
    async def test_a_websocket_of_the_own_origin(self, gate: Gate, method: str) -> None:
        assert (await gate.ask(method=method, upgrade=True, origin=OWN, site="cross-site")).ticket

    @pytest.mark.parametrize("origin", [None, "null", "http://localhost:8080", f"{OWN}/", f"{OWN}, {OWN}"])
    async def test_a_websocket_of_no_other(self, gate: Gate, origin: str | None) -> None:
        with pytest.raises(Forbidden):
            await gate.ask(upgrade=True, origin=origin, site="same-origin")

    async def test_a_websocket_that_posts(self, gate: Gate) -> None:
        with pytest.raises(MethodNotAllowed):
            await gate.ask(method="POST", upgrade=True, origin=OWN)

    @pytest.mark.parametrize(
        ("method", "site", "part", "origin", "passes"),
        [
            ("GET", "cross-site", False, None, True),
            ("GET", "cross-site", True, None, False),
            ("GET", "same-site", True, None, False),
            ("GET", "same-origin", True, None, True),
            ("GET", "none", True, None, True),
            ("HEAD", "cross-site", False, None, True),
            ("OPTIONS", "cross-site", False, None, True),
            ("POST", "cross-site", False, OWN, False),
            ("POST", "same-site", False, OWN, False),
            ("POST", "same-origin", False, "https://evil.example.org", True),
            ("POST", "none", False, None, True),
            ("POST", None, False, None, True),
            ("POST", None, False, OWN, True),
            ("POST", None, False, "null", False),
            ("GET", None, False, "null", True),
            ("GET", None, True, "https://evil.example.org", True),
            ("DELETE", None, True, "https://evil.example.org", False),
        ],
    )
    async def test_other_requests(
        self, gate: Gate, method: str, site: str | None, part: bool, origin: str | None, passes: bool
    ) -> None:
        try:
            found = await gate.ask(method=method, site=site, part=part, origin=origin)
        except Forbidden:
            found = None
        # What may have a body goes by way of the relay.
        relayed = replace(ADMITTED, upstream="127.0.0.1:9", ticket="a ticket")
        assert found == ((relayed if method == "POST" else ADMITTED) if passes else None)


class TestFrames:
    """In another page's frame stands a page that leads out, or the workspace where the operator lists that page."""

    async def frame(self, gate: Gate, **changes: Any) -> Any:
        given = {"page": True, "part": True, "framed": True, "browser": True, "site": "cross-site"}
        return await gate.ask(**{**given, **changes})

    @pytest.mark.parametrize(
        "referrer", [None, f"{MOODLE}.evil/", "http://moodle.example.org/", "null", f"{MOODLE}:8443/"]
    )
    async def test_an_unlisted_page_gets_a_link_that_opens_a_tab(self, gate: Gate, referrer: str | None) -> None:
        for listed in ([], [MOODLE]):
            gate.resources.settings.frame_ancestors = listed
            for site in ("cross-site", "same-site"):
                found = await self.frame(gate, referrer=referrer, site=site)
                assert (type(found.error), found.framed) == (OpenInTab, True)

    async def test_a_listed_page_shows_the_workspace(self, gate: Gate) -> None:
        gate.resources.settings.frame_ancestors = [MOODLE]
        for referrer in (f"{MOODLE}/", f"{MOODLE}/course?id=1", f"{OWN}/alice-hello/"):
            assert await self.frame(gate, referrer=referrer) == ADMITTED
        found = await self.frame(gate, referrer=f"{MOODLE}/", method="POST", origin=MOODLE)
        assert type(found.error) is OpenInTab
        with pytest.raises(Forbidden):
            await self.frame(gate, referrer=f"{MOODLE}/", framed=False, page=False)

    async def test_in_a_frame_nobody_is_sent_to_the_pages(self, gate: Gate) -> None:
        gate.resources.settings.frame_ancestors = [MOODLE]
        found = await self.frame(gate, referrer=f"{MOODLE}/", cookies=())
        assert type(found.error) is OpenInTab
        assert type((await self.frame(gate, site="same-origin", cookies=())).error) is OpenInTab


class TestCrossing:
    """A cookie that comes along from other sites is set where it has to, over TLS alone, and then asks for more."""

    def allow(self, gate: Gate, *, frames: bool = False, posts: bool = False, tls: bool = True) -> None:
        settings = gate.resources.settings
        settings.workspace_url = f"http{'s' if tls else ''}://127.0.0.1:8080/{{route}}"
        settings.frame_ancestors = [MOODLE] if frames else []
        if posts:
            default, *others = gate.resources.catalog.templates
            changed = default.model_copy(update={"posts_from": (LOGIN,)})
            object.__setattr__(gate.resources, "catalog", Catalog((changed, *others)))

    @pytest.mark.parametrize(
        ("allowed", "anywhere"),
        [({}, False), ({"frames": True}, True), ({"posts": True}, True), ({"frames": True, "tls": False}, False)],
    )
    async def test_the_cookie(self, gate: Gate, allowed: dict[str, bool], anywhere: bool) -> None:
        self.allow(gate, **allowed)
        state = new_token()
        async with gate.resources.unit_of_work() as session:
            caller = Principal(gate.alice.user, gate.alice.session.id)
            code = await make_code(session, gate.resources, caller, "alice", "hello", state)
        prefix = "" if allowed.get("tls") is False else "__Secure-"
        found = await gate.page(
            uri=f"/alice-hello/.spawner/enter?code={code}", cookies=(f"{prefix}spawner_entry={state}",)
        )
        assert found.cookie.anywhere is anywhere

    async def test_a_browser_that_does_not_say_where_from_is_refused(self, gate: Gate) -> None:
        for allowed, passes in (({}, True), ({"frames": True}, False), ({"posts": True}, False)):
            self.allow(gate, **allowed)
            cookie = (f"__Secure-spawner_workspace={gate.value}",)
            assert await gate.ask(site="none", cookies=cookie) == ADMITTED
            if passes:
                assert await gate.ask(cookies=cookie) == ADMITTED
                continue
            with pytest.raises(Forbidden):
                await gate.ask(cookies=cookie)

    @pytest.mark.parametrize(
        ("changes", "passes"),
        [
            ({}, True),
            ({"site": "same-site"}, True),
            ({"origin": f"{LOGIN}.evil"}, False),
            ({"origin": f"{LOGIN}, {LOGIN}"}, False),
            ({"origin": "null"}, False),
            ({"origin": None}, False),
            ({"origin": MOODLE}, False),
            ({"page": False, "part": True}, False),
            ({"part": True, "framed": True}, False),
            ({"method": "PUT"}, False),
            ({"uri": "/alice-jupyter/"}, False),
        ],
    )
    async def test_a_form_arrives_from_where_its_template_expects_one(
        self, gate: Gate, changes: dict[str, Any], passes: bool
    ) -> None:
        self.allow(gate, frames=True, posts=True)
        given = {"method": "POST", "page": True, "browser": True, "site": "cross-site", "origin": LOGIN}
        cookie = (f"__Secure-spawner_workspace={gate.value}",)
        try:
            found = await gate.ask(**{**given, "cookies": cookie, **changes})
        except Forbidden:
            found = None
        assert isinstance(found, Allow) is passes
        if isinstance(found, ErrorPage):
            assert type(found.error) is (OpenInTab if changes.get("framed") else SentFromElsewhere)

    async def test_a_form_for_somebody_who_is_not_there_is_answered_in_words(self, gate: Gate) -> None:
        self.allow(gate, posts=True)
        given = {"method": "POST", "page": True, "browser": True, "site": "cross-site", "origin": LOGIN, "cookies": ()}
        assert type((await gate.ask(**given)).error) is NotEntered
