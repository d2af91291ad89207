"""What the mails say."""

import re
from datetime import timedelta

import pytest

from app.core.i18n import LOCALES, Locale
from app.mail.messages import Email, Message, invite, write_link

TOKEN = "q7Zb0c1xK0hYkq3V9dV8u4rJm2sPz6tW5nXeLfAgBhI"
SITE = "https://spawner.example.org"
LINK = f"{SITE}/auth/confirm#token={TOKEN}"
CODE = "7K2M-Q9XD"
WITH_LINK = (Message.SIGNUP, Message.LOGIN)


def letter(
    message: Message = Message.LOGIN, locale: Locale = "en", *, to: str = "a@example.org", seconds: int = 600
) -> Email:
    life = timedelta(seconds=seconds)
    if message == Message.INVITE:
        return invite(locale, to=to, public_url=SITE, inviter="root@example.org", life=life)
    return write_link(message, locale, to=to, public_url=SITE, token=TOKEN, code=CODE, life=life)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("message", WITH_LINK)
def test_every_mail_that_signs_in_has_its_link_code_minutes_and_place(message: Message, locale: Locale) -> None:
    made = letter(message, locale)
    assert made.text.count(LINK) == 1
    assert set(re.findall(r'href="([^"]+)"', made.html)) == {LINK}
    for body in (made.text, made.html):
        assert body.count(CODE) == 1
        assert "10 min" in body.lower()
        assert "spawner.example.org" in body
        assert "a@example.org" in body
    assert "spawner.example.org" in made.subject
    assert TOKEN not in made.subject
    assert CODE not in made.subject
    assert f'<html lang="{locale}">' in made.html


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("inviter", ["root@example.org", None])
def test_an_invitation_says_who_invites_where_to_and_for_how_long_and_holds_no_secret(
    locale: Locale, inviter: str | None
) -> None:
    made = invite(locale, to="a@example.org", public_url=SITE, inviter=inviter, life=timedelta(days=7, seconds=-1))
    assert set(re.findall(r'href="([^"]+)"', made.html)) == {f"{SITE}/sign-in"}
    for body in (made.text, made.html):
        assert "7 days" in body or "7 Tage" in body
        assert "spawner.example.org" in body
        assert "a@example.org" in body
        assert ("root@example.org" in body) == (inviter is not None)
        assert "token" not in body
    assert "spawner.example.org" in made.subject


def test_an_invitation_of_a_day_is_singular() -> None:
    for locale, word in (("en", "1 day,"), ("de", "1 Tag lang")):
        assert word in letter(Message.INVITE, "de" if locale == "de" else "en", seconds=60).text


@pytest.mark.parametrize("message", Message)
def test_the_languages_share_no_sentence(message: Message) -> None:
    english, german = letter(message, "en"), letter(message, "de")
    assert english.subject != german.subject
    shared = set(english.text.splitlines()) & set(german.text.splitlines())
    assert shared == {"", *([f"{SITE}/sign-in"] if message == Message.INVITE else [LINK, CODE])}


@pytest.mark.parametrize(("locale", "word"), [("en", "1 minute."), ("de", "1 Minute lang")])
def test_a_single_minute_is_singular(locale: Locale, word: str) -> None:
    assert word in letter(locale=locale, seconds=60).text


@pytest.mark.parametrize("message", Message)
def test_an_address_cannot_write_html(message: Message) -> None:
    made = letter(message, to="<img src=x>&@example.org")
    assert "<img" not in made.html
    assert "&lt;img src=x&gt;&amp;@example.org" in made.html


def test_a_subject_is_one_line() -> None:
    life = timedelta(minutes=1)
    made = write_link(
        Message.LOGIN, "en", to="a@example.org", public_url="https://x\r\ny", token=TOKEN, code=CODE, life=life
    )
    assert len(made.subject.splitlines()) == 1


def test_nothing_is_loaded_from_elsewhere() -> None:
    for message in Message:
        assert not re.search(r"<(img|script|link|iframe)|url\(|@import", letter(message).html)
