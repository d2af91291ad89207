"""What becomes of the Cookie headers at a workspace's origin."""

from hypothesis import given
from hypothesis import strategies as st

from app.gateway import cookies
from app.gateway.handoff import safe_path


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
    assert cookies.values(["x=0; n=1", "n=2;n = 3"], "n") == ["1", "2", "3"]
    assert len(cookies.values(["n=1;" * 100], "n")) == cookies.MOST_TRIED


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
