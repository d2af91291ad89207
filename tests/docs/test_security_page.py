"""docs/security.md promises nothing without a test that attacks it, and names nothing that is not there."""

import re

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
PATHS = re.findall(
    r"`((?:app|bench|deploy|docs|images|tests|workers)/[\w./-]*|compose\.yaml|requirements\.lock)`", PAGE
)
TARGETS = re.findall(r"`make ([a-z-]+)`", PAGE)
PROMISES = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.partition("| promise | kept by | attacked in |")[2].partition("\n\n")[0].splitlines()[2:]
]


def test_the_page_is_read_as_it_is_written() -> None:
    assert len(PROMISES) > 40
    assert len(PATHS) > 80


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise[0][:60])
def test_each_promise_names_a_test_that_is_there(promise: list[str]) -> None:
    assert len(promise) == 3
    named = re.findall(r"`(tests/[\w./-]*)`", promise[2])
    assert named
    assert all((ROOT / path).exists() for path in named)


@pytest.mark.parametrize("path", sorted(set(PATHS)))
def test_what_is_named_is_there(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("target", sorted(set(TARGETS)))
def test_each_command_is_there(target: str) -> None:
    assert f"\n{target}:" in (ROOT / "Makefile").read_text()
