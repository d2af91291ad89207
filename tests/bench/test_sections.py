"""Which sections run, and what is left of those that fail."""

import asyncio
from pathlib import Path

import pytest

from bench.__main__ import table
from bench.runner import Runner
from bench.sections import ALL_SECONDS, SECTIONS, Section, parse_only
from bench.table import Row

NAMES = ["alone", "burst", "reads"]


@pytest.mark.parametrize(
    ("text", "found"),
    [("", NAMES), ("burst", ["burst"]), (" reads , alone,", ["alone", "reads"])],
)
def test_only_names_sections_in_the_order_in_which_they_run(text: str, found: list[str]) -> None:
    assert parse_only(text, NAMES) == found


def test_a_section_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="no section burts; there are: alone, burst, reads"):
        parse_only("burts", NAMES)


def test_names_of_sections_are_unique_and_fit_into_a_comma_list() -> None:
    names = [section.name for section in SECTIONS]
    assert len(set(names)) == len(names)
    assert all(name.isalpha() and name != "help" for name in names)


def test_what_fills_the_database_is_the_last_in_its_installation() -> None:
    names = [section.name for section in SECTIONS]
    after = SECTIONS[names.index("filled") + 1]
    assert not after.follows(SECTIONS[names.index("filled")])


@pytest.mark.parametrize("hangs", SECTIONS, ids=lambda section: section.name)
def test_a_section_that_hangs_leaves_the_others_the_time_that_they_need(tmp_path: Path, hangs: Section) -> None:
    runner = Runner(list(SECTIONS), tmp_path, ALL_SECONDS)
    left = float(ALL_SECONDS)
    for section in SECTIONS:
        share = runner.share(section, left)
        # What each takes that does not hang, on a machine for which the run is made.
        takes = 0.7 * section.seconds
        assert share >= takes
        left -= share if section is hangs else takes
        runner.left.remove(section)
    assert left >= 0


def test_each_row_of_the_table_names_its_section() -> None:
    text = table({"alone": [Row("one"), Row("two")], "burst": [Row("three")]})
    assert [line.split(" | ")[:2] for line in text.splitlines()[2:]] == [
        ["| alone", "one"],
        ["| alone", "two"],
        ["| burst", "three"],
    ]


async def test_a_child_that_fails_before_it_begins_is_a_row(tmp_path: Path) -> None:
    unknown = Section("nosuch", SECTIONS[0].rows, 20, "nothing that there is", None)
    runner = Runner([unknown], tmp_path / "logs", 60)
    async with asyncio.timeout(60):
        await runner.run()
    (row,) = runner.rows["nosuch"]
    assert row.what == "nothing that there is"
    assert "not reached" in row.verdict
    assert "KeyError" in row.verdict


async def test_sections_for_which_no_time_is_left_are_rows(tmp_path: Path) -> None:
    runner = Runner(list(SECTIONS[:2]), tmp_path / "logs", 0)
    await runner.run()
    assert all("the time of the whole run was over" in rows[0].verdict for rows in runner.rows.values())
