"""Figures, verdicts and the page that they are written to."""

from pathlib import Path

import pytest

from bench.table import (
    MISSED,
    REACHED,
    Row,
    as_table,
    at_most,
    between_marks,
    floor_plus,
    median,
    none_of,
    not_reached,
    percentile,
    share_of_floor,
    times_floor,
    write,
    written,
)


@pytest.mark.parametrize(
    ("values", "percent", "found"),
    [([7.0], 99, 7.0), (list(range(1, 101)), 99, 99), (list(range(1, 101)), 50, 50), (list(range(1, 41)), 99, 40)],
)
def test_a_percentile_is_one_of_the_values(values: list[float], percent: float, found: float) -> None:
    assert percentile(values, percent) == found


def test_order_does_not_matter_for_a_percentile() -> None:
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0


def test_the_median_of_two_is_the_worse_one_for_a_time() -> None:
    assert median([1.0, 9.0]) == 9.0


@pytest.mark.parametrize(
    ("value", "up", "text"),
    [
        (100.01, True, "101 ms"),
        (100.99, False, "100 ms"),
        (99.91, True, "100.0 ms"),
        (0.899, False, "0.89 ms"),
        (0.9, False, "0.90 ms"),
        (1234.5, True, "1,235 ms"),
        (-3.14, True, "-3.14 ms"),
    ],
)
def test_a_figure_is_rounded_in_the_direction_that_is_asked_for(value: float, up: bool, text: str) -> None:
    assert written(value, "ms", up=up) == text


@pytest.mark.parametrize(("measured", "verdict"), [(150.0, REACHED), (150.001, MISSED)])
def test_a_verdict_is_that_of_the_exact_figure(measured: float, verdict: str) -> None:
    assert at_most("x", measured, 150).verdict == verdict


def test_a_share_just_below_its_target_is_neither_reached_nor_shown_as_reached() -> None:
    row = share_of_floor("x", 89.99, 100.0, 0.9)
    assert (row.ratio, row.verdict) == ("0.89", MISSED)
    assert share_of_floor("x", 90.0, 100.0, 0.9).verdict == REACHED


def test_a_share_of_nothing_is_not_reached() -> None:
    assert share_of_floor("x", 1.0, 0.0, 0.9).verdict == MISSED


@pytest.mark.parametrize(
    ("measured", "ratio", "verdict"),
    [(140.0, "+40.0 ms", REACHED), (140.1, "+40.1 ms", MISSED), (90, "-10.0 ms", REACHED)],
)
def test_a_floor_plus_something(measured: float, ratio: str, verdict: str) -> None:
    row = floor_plus("x", measured, 100.0, 40)
    assert (row.ratio, row.verdict) == (ratio, verdict)


@pytest.mark.parametrize(("measured", "verdict"), [(130.0, REACHED), (130.01, MISSED)])
def test_times_the_floor(measured: float, verdict: str) -> None:
    assert times_floor("x", measured, 100.0, 1.3).verdict == verdict


@pytest.mark.parametrize(("found", "total", "verdict"), [(0, 40, REACHED), (1, 40, MISSED), (0, 0, MISSED)])
def test_none_of_nothing_is_not_reached(found: int, total: int, verdict: str) -> None:
    assert none_of("x", found, total).verdict == verdict


def test_a_reason_is_one_line_of_a_table() -> None:
    assert not_reached("x", "two\nlines | and a bar").verdict == f"{MISSED}: two lines / and a bar"


def test_a_table_has_a_line_for_each_row() -> None:
    text = as_table([Row("a", "b", "c", "d", "e", "f")])
    assert text.splitlines()[-1] == "| a | b | c | d | e | f |"


def test_writing_replaces_what_stands_between_its_own_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- bench -->\nold\n<!-- bench -->\nb\n<!-- peers -->\nkept\n<!-- peers -->\n")
    write("bench", "new", page)
    assert page.read_text() == "a\n<!-- bench -->\nnew\n<!-- bench -->\nb\n<!-- peers -->\nkept\n<!-- peers -->\n"


def test_a_page_without_marks_is_not_written() -> None:
    with pytest.raises(ValueError, match="bench"):
        between_marks("nothing", "bench", "new")
