"""What the mails say."""

import re
from datetime import timedelta

import pytest

from app.i18n import LOCALES, Locale
from app.mail.messages import Letter, Message, compose

TOKEN = "q7Zb0c1xK0hYkq3V9dV8u4rJm2sPz6tW5nXeLfAgBhI"
LINK = f"https://spawner.example.org/auth/confirm#token={TOKEN}"


def letter(
    message: Message = Message.LOGIN, locale: Locale = "en", *, to: str = "a@example.org", seconds: int = 600
) -> Letter:
    site = "https://spawner.example.org"
    return compose(message, locale, to=to, public_url=site, token=TOKEN, life=timedelta(seconds=seconds))


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("message", Message)
def test_every_mail_has_its_link_its_minutes_and_its_place(message: Message, locale: Locale) -> None:
    made = letter(message, locale)
    assert made.text.count(LINK) == 1
    assert set(re.findall(r'href="([^"]+)"', made.html)) == {LINK}
    for body in (made.text, made.html):
        assert "10 min" in body.lower()
        assert "spawner.example.org" in body
        assert "a@example.org" in body
    assert "spawner.example.org" in made.subject
    assert TOKEN not in made.subject
    assert f'<html lang="{locale}">' in made.html


@pytest.mark.parametrize("message", Message)
def test_the_languages_share_no_sentence(message: Message) -> None:
    english, german = letter(message, "en"), letter(message, "de")
    assert english.subject != german.subject
    shared = set(english.text.splitlines()) & set(german.text.splitlines())
    assert shared == {"", LINK}


@pytest.mark.parametrize(("locale", "word"), [("en", "1 minute."), ("de", "1 Minute lang")])
def test_a_single_minute_is_singular(locale: Locale, word: str) -> None:
    assert word in letter(locale=locale, seconds=60).text


def test_an_address_cannot_write_html() -> None:
    made = letter(to="<img src=x>&@example.org")
    assert "<img" not in made.html
    assert "&lt;img src=x&gt;&amp;@example.org" in made.html


def test_a_subject_is_one_line() -> None:
    made = compose(
        Message.LOGIN, "en", to="a@example.org", public_url="https://x\r\ny", token=TOKEN, life=timedelta(minutes=1)
    )
    assert len(made.subject.splitlines()) == 1


def test_nothing_is_loaded_from_elsewhere() -> None:
    for message in Message:
        assert not re.search(r"<(img|script|link|iframe)|url\(|@import", letter(message).html)
