"""What becomes of the Cookie headers at a workspace's origin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.addresses import safe_path
from app.gateway import cookies


def test_only_the_platforms_cookies_are_taken_out() -> None:
    headers = [
        "a=1; spawner_workspace=s; __Host-spawner_workspace=s; __Secure-spawner_entry=s",
        'SPAWNER_SESSION=s; b="x y"; =odd;; xspawner_a=2; __Host-spawner_session=s',
        "spawner_workspace",
    ]
    assert cookies.without_ours(headers) == 'a=1; b="x y"; =odd; xspawner_a=2'


@given(st.lists(st.text(alphabet="ab =;\"'_-,spawner", max_size=60), max_size=4))
def test_no_header_smuggles_ours_through(headers: list[str]) -> None:
    left = cookies.without_ours([*headers, "spawner_workspace=secret"])
    assert "secret" not in left
    assert not any(pair.strip().lower().startswith("spawner_") for pair in left.split(";"))


def test_every_value_of_our_name_is_seen_but_not_without_end() -> None:
    one, two, three = (f"{number:043d}" for number in (1, 2, 3))
    assert cookies.values([f"x=0; n={one}; n=planted", f"n={two};n = {three}; n={one}"], "n") == [one, two, three]
    many = [f"n={number:043d}" for number in range(1000)]
    assert len(cookies.values([";".join(many)], "n")) == cookies.MAX_TRIED


def test_as_many_planted_cookies_as_a_browser_keeps_do_not_hide_the_true_one() -> None:
    true = "t" * 43
    planted = [f"n={number:043d}" for number in range(180)]
    assert true in cookies.values(["; ".join([*planted, f"n={true}"])], "n")


@pytest.mark.parametrize("before", ["\xa0", "\x85", "\x1f", "\x0b", "\xc2\xa0", "=", '"'])
def test_a_name_that_the_browser_did_not_check_is_not_ours(before: str) -> None:
    assert cookies.values([f"{before}__Host-n={'t' * 43}; __Host-n{before}={'t' * 43}"], "__Host-n") == []


@given(st.text(max_size=30))
def test_a_next_path_never_leads_out(text: str) -> None:
    for path in (text, f"/{text}", f"/a/{text}"):
        safe = safe_path(path)
        assert safe.startswith("/")
        assert not safe.startswith(("//", "/\\"))
        assert not set(safe) & set("\\\r\n\t ")
        assert not any(segment in ("..", ".") for segment in safe.partition("?")[0].split("/"))


def test_an_ordinary_next_path_stays_as_it_is() -> None:
    for path in ("/", "/lab/tree/a.ipynb?x=..%2f/&y=//z", "/files/..hidden/.config", "/a%20b#c"):
        assert safe_path(path) == path
    for path in ("//evil.org", "/\\evil.org", "https://evil.org", "/a/../../b", "/%2E./b", "/a/%2e%2e", "evil", ""):
        assert safe_path(path) == "/"
