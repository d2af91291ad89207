"""Home: that a workspace rests soon, and how its owner puts that off."""

from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI

from app.core.i18n import Locale
from app.models import JobStep, WorkspaceStatus, utcnow
from app.resources import Resources
from app.web.messages.pages import soon
from tests.support.browsers import Page, make_workspace
from tests.support.clocks import Time
from tests.support.factories import SignedIn
from tests.support.pages import HTMX, PATH, forms, workspace_of

LIMITS = {"idle_pause": 600, "idle_stop": 3600, "max_lifetime": 7200}


@pytest.fixture
def limited(app: FastAPI, resources: Resources) -> Resources:
    """A catalogue whose default template sets every limit."""
    hello, *others = resources.catalog.templates
    catalog = replace(resources.catalog, templates=(hello.model_copy(update=LIMITS), *others))
    app.state.resources = replace(resources, catalog=catalog)
    return resources


async def unused(
    resources: Resources, who: SignedIn, status: WorkspaceStatus, *, idle: timedelta, age: timedelta | None = None
) -> None:
    """A workspace that was last used so long ago, and started so long ago."""
    now = utcnow()
    await make_workspace(resources, who.user, status, started_at=now - (age or idle), active_at=now - idle)


@pytest.mark.parametrize(
    ("status", "idle", "age", "sentence", "button"),
    [
        (WorkspaceStatus.RUNNING, 5.5, 5.5, "it pauses in 4 minutes.", "Keep it going"),
        (WorkspaceStatus.RUNNING, 9.5, 9.5, "it pauses in a moment.", "Keep it going"),
        (WorkspaceStatus.PAUSED, 57.5, 57.5, "it stops in 2 minutes, and its programs end.", "Do not stop it yet"),
        (WorkspaceStatus.RUNNING, 1, 118.5, "it stops in a minute, and its programs end. Save your work.", None),
    ],
)
async def test_a_card_warns_of_what_comes_and_offers_to_put_it_off_where_that_helps(
    hers: httpx.AsyncClient,
    limited: Resources,
    alice: SignedIn,
    status: WorkspaceStatus,
    idle: float,
    age: float,
    sentence: str,
    button: str | None,
) -> None:
    await unused(limited, alice, status, idle=timedelta(minutes=idle), age=timedelta(minutes=age))
    answer = await hers.get("/")
    assert sentence in answer.text
    assert ("extend" in forms(answer.text)) is (button is not None)
    assert button is None or button in answer.text


async def test_only_a_workspace_that_is_awake_is_offered_to_be_kept_awake(
    hers: httpx.AsyncClient, limited: Resources, alice: SignedIn
) -> None:
    await unused(limited, alice, WorkspaceStatus.PAUSED, idle=timedelta(minutes=20))
    assert "keep" not in forms((await hers.get("/")).text)
    answer = await hers.post(f"{PATH}/keep", data={"hours": 1}, headers=HTMX)
    assert "Kept awake until" not in answer.text
    assert "<progress" in answer.text


async def test_extending_takes_the_warning_back(hers: httpx.AsyncClient, limited: Resources, alice: SignedIn) -> None:
    await unused(limited, alice, WorkspaceStatus.RUNNING, idle=timedelta(minutes=9))
    before = utcnow()
    answer = await hers.post(f"{PATH}/extend", headers=HTMX)
    assert "it pauses" not in answer.text
    assert forms(answer.text) == {"keep", "stop", "restart", "delete"}
    active_at = (await workspace_of(limited, alice)).active_at
    assert active_at is not None
    assert active_at >= before


async def test_extending_without_scripts_comes_back_home(
    hers: httpx.AsyncClient, limited: Resources, alice: SignedIn
) -> None:
    await unused(limited, alice, WorkspaceStatus.RUNNING, idle=timedelta(minutes=9))
    answer = await hers.post(f"{PATH}/extend")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_extending_what_has_stopped_meanwhile_says_so_on_its_card(
    hers: httpx.AsyncClient, limited: Resources, alice: SignedIn
) -> None:
    await make_workspace(limited, alice.user, WorkspaceStatus.STOPPED)
    answer = await hers.post(f"{PATH}/extend", headers=HTMX)
    assert answer.status_code == 200
    assert "Only a running or paused workspace can be extended" in answer.text
    assert (await hers.post(f"{PATH}/extend")).status_code == 409


@pytest.mark.parametrize(("hours", "kept"), [(1, timedelta(hours=1)), (24, timedelta(hours=2))])
async def test_an_owner_keeps_a_workspace_awake_for_hours_and_no_longer_than_it_lives(
    hers: httpx.AsyncClient, limited: Resources, alice: SignedIn, time: Time, hours: int, kept: timedelta
) -> None:
    await unused(limited, alice, WorkspaceStatus.RUNNING, idle=timedelta(0))
    page = await hers.get("/")
    assert "more than 5 % of a processor core count as use" in page.text
    answer = await hers.post(f"{PATH}/keep", data={"hours": hours}, headers=HTMX)
    assert "Kept awake until" in answer.text
    assert (await workspace_of(limited, alice)).kept_until == time.now + kept


async def test_another_site_extends_nothing(hers: httpx.AsyncClient, limited: Resources, alice: SignedIn) -> None:
    await unused(limited, alice, WorkspaceStatus.RUNNING, idle=timedelta(minutes=9))
    answer = await hers.post(
        f"{PATH}/extend", headers={"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    )
    assert answer.status_code == 403
    assert "it pauses" in (await hers.get("/")).text


async def test_a_card_that_will_rest_looks_again_by_itself_and_tells_of_the_warning_once(
    hers: httpx.AsyncClient, limited: Resources, alice: SignedIn
) -> None:
    await unused(limited, alice, WorkspaceStatus.RUNNING, idle=timedelta(minutes=9))
    (card,) = Page((await hers.get("/")).text).find("article", id="workspace-hello")
    assert card["hx-trigger"] == "look, every 60s"
    seen = await hers.get(str(card["hx-get"]), headers=HTMX)
    assert not Page(seen.text).find("p", id="said-hello")
    unseen = await hers.get(f"{PATH}?said=running.", headers=HTMX)
    assert Page(unseen.text).find("p", id="said-hello")


@pytest.mark.parametrize("status", [WorkspaceStatus.RUNNING, WorkspaceStatus.STOPPED])
async def test_a_card_that_stays_as_it_is_does_not_look_again(
    hers: httpx.AsyncClient, resources: Resources, alice: SignedIn, status: WorkspaceStatus
) -> None:
    await make_workspace(resources, alice.user, status)
    (card,) = Page((await hers.get("/")).text).find("article", id="workspace-hello")
    assert card["hx-trigger"] == "look"


async def test_while_a_job_lives_nothing_else_is_warned_of(
    hers: httpx.AsyncClient, limited: Resources, alice: SignedIn
) -> None:
    past = utcnow() - timedelta(minutes=9)
    running, step = WorkspaceStatus.RUNNING, JobStep.PAUSING
    await make_workspace(limited, alice.user, running, step=step, started_at=past, active_at=past)
    assert "it pauses" not in (await hers.get("/")).text


@pytest.mark.parametrize(
    ("seconds", "locale", "words"),
    [
        (-5, "en", "in a moment"),
        (59, "en", "in a moment"),
        (60, "en", "in a minute"),
        (119, "de", "in einer Minute"),
        (179, "en", "in 2 minutes"),
        (119 * 60, "de", "in 119 Minuten"),
        (120 * 60, "en", "in 2 hours"),
        (16.8 * 3600, "de", "in 16 Stunden"),
    ],
)
def test_how_soon_is_said_in_words_that_promise_no_more_than_there_is(
    seconds: float, locale: Locale, words: str
) -> None:
    assert soon(seconds, locale) == words
