"""What tests look for in pages."""

import re

import httpx
from sqlalchemy import select

from app.models import (
    Job,
    Workspace,
)
from app.resources import Resources
from tests.support.browsers import Page
from tests.support.factories import SignedIn

HTMX = {"HX-Request": "true"}


async def jobs_of(resources: Resources, who: SignedIn) -> list[Job]:
    """Every job of a user."""
    async with resources.unit_of_work() as session:
        return list(await session.scalars(select(Job).where(Job.user_id == who.user.id)))


SAME_IN_BOTH = {"Spawner", "JupyterLab", "1 CPU", "H", "J", "alice@example.org"}


def check_policy(answer: httpx.Response) -> Page:
    """Nothing in the page needs more than its policy allows."""
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "unsafe" not in policy
    page = Page(answer.text)
    assert page.inline == []
    for tag, attributes in page.elements:
        assert tag != "style"
        assert not [name for name in attributes if name.startswith(("on", "hx-on")) or name == "style"], tag
        if "disabled" not in attributes and tag in ("button", "summary"):
            assert attributes.get("tabindex", "0") == "0", f"{tag} is out of the keyboard's reach"
        for name in ("src", "href", "action", "hx-get", "hx-post"):
            value = attributes.get(name)
            assert value is None or value.startswith(("/", "#")), f"{tag} {name}={value}"
            assert value is None or not value.startswith("//")
    return page


def check_languages(english: httpx.Response, german: httpx.Response) -> None:
    """The same page, said twice: no sentence is left in the other language."""
    pages = [check_policy(english), check_policy(german)]
    for answer, page, locale in zip((english, german), pages, ("en", "de"), strict=True):
        assert page.find("html", lang=locale)
        assert answer.headers["content-language"] == locale
        assert "Accept-Language" in answer.headers["vary"]
    first, second = pages
    assert len(first.words) == len(second.words)
    same = {
        word
        for word, other in zip(first.words, second.words, strict=True)
        if word == other and re.search(r"[^\W\d_]", word)
    }
    assert same <= SAME_IN_BOTH


PATH = "/home/workspaces/hello"


def forms(html: str) -> set[str]:
    """What the card of hello can ask for: the last part of each form's address."""
    actions = [str(form["action"]) for form in Page(html).find("form")]
    return {action.rpartition("/")[2] for action in actions if action.startswith(f"{PATH}/")}


async def workspace_of(resources: Resources, who: SignedIn, template: str = "hello") -> Workspace:
    async with resources.unit_of_work() as session:
        query = select(Workspace).where(Workspace.user_id == who.user.id, Workspace.template == template)
        return (await session.scalars(query)).one()
