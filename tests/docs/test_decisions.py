"""Decisions are named by number, in code and documents: each number is one decision's."""

import re

from tests.conftest import ROOT

DECISIONS = sorted((ROOT / "docs/adr").glob("*.md"))


def test_each_decision_has_a_number_of_its_own_without_gaps() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for path in DECISIONS:
        assert path.read_text().startswith(f"# {int(path.name[:4])}. "), path.name


def test_what_documents_name_is_there() -> None:
    for path in (ROOT / "docs").rglob("*.md"):
        named = {int(number) for number in re.findall(r"ADR (\d+)", path.read_text())}
        assert max(named, default=0) <= len(DECISIONS), path.name
