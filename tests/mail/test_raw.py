"""The bytes that a mail server gets: people copy links from a mail's source, and programs read no encoding."""

import email
import email.policy
from datetime import timedelta
from email.message import EmailMessage

import pytest

from app.core.i18n import LOCALES, Locale
from app.mail.messages import Email, Message, invite, write_link
from app.mail.sender import SmtpMailer
from tests.support.emails import PostOffice, text_of

TOKEN = "lm5k-_Zb0c1xK0hYkq3V9dV8u4rJm2sPz6tW5nXeLfA"
CODE = "7K2M-Q9XD"
SHORT = "https://spawner.example.org"
# The longest name that a host may have (RFC 1035).
LONG = f"https://{'.'.join(['a' * 63, 'b' * 63, 'c' * 63, 'd' * 61])}:65535"
UMLAUTS = "jürgen.groß@example.org"


def write(message: Message, locale: Locale, to: str, site: str) -> Email:
    life = timedelta(days=1)
    if message == Message.INVITE:
        return invite(locale, to=to, public_url=site, inviter="chef@example.org", life=life)
    return write_link(message, locale, to=to, public_url=site, token=TOKEN, code=CODE, life=life)


async def nothing() -> None:
    pass


async def transmit(post_office: PostOffice, letter: Email) -> bytes:
    await SmtpMailer(f"smtp://127.0.0.1:{post_office.port}", "spawner@example.org").send(letter, nothing)
    content = post_office.received[-1].original_content
    assert content is not None
    return content


def parse(content: bytes) -> EmailMessage:
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    return mail


def expected(message: Message, site: str) -> list[str]:
    """What has a line of its own."""
    return [f"{site}/sign-in"] if message == Message.INVITE else [f"{site}/auth/confirm#token={TOKEN}", CODE]


@pytest.mark.parametrize("site", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("to", ["alice@example.org", UMLAUTS])
@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("message", Message)
async def test_link_and_code_stand_raw_and_whole_on_lines_of_their_own(
    post_office: PostOffice, message: Message, locale: Locale, to: str, site: str
) -> None:
    letter = write(message, locale, to, site)
    content = await transmit(post_office, letter)
    lines = content.split(b"\r\n")
    for line in expected(message, site):
        assert line.encode() in lines
    assert all(len(line) <= 998 for line in lines)
    assert b"=3D" not in content
    assert b"quoted-printable" not in content.lower()
    assert (text_of(parse(content)), text_of(parse(content), "html").strip()) == (letter.text, letter.html.strip())


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("message", Message)
async def test_a_server_that_takes_seven_bits_gets_seven_and_no_broken_link(
    post_office: PostOffice, message: Message, locale: Locale
) -> None:
    post_office.lacks = ("8BITMIME", "SMTPUTF8")
    letter = write(message, locale, "alice@example.org", SHORT)
    content = await transmit(post_office, letter)
    assert content.isascii()
    assert b"quoted-printable" not in content.lower()
    encodings = [str(part["Content-Transfer-Encoding"]) for part in parse(content).iter_parts()]
    assert encodings == ["7bit" if body.isascii() else "base64" for body in (letter.text, letter.html)]
    assert text_of(parse(content)) == letter.text
    for line in expected(message, SHORT):
        assert (line.encode() in content.split(b"\r\n")) == letter.text.isascii()


async def test_a_line_that_smtp_does_not_allow_is_encoded(post_office: PostOffice) -> None:
    letter = Email(to="alice@example.org", subject="Hello", text="a" * 999 + "\n", html="<p>hello</p>\n")
    content = await transmit(post_office, letter)
    assert all(len(line) <= 998 for line in content.split(b"\r\n"))
    assert text_of(parse(content)) == letter.text
