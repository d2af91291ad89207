"""The time that an answer takes does not tell whether an address is known; `make timing` looks ten times as long."""

import random

import httpx
import pytest

from app.core.settings.model import Settings
from app.resources import Resources
from tests.timing.asking import KINDS, PATHS, Answers, measure, put_accounts
from tests.timing.ranks import mann_whitney

TRIES = 100
FIRST = [1.1, 2.2, 3.3, 4.4, 5.5, 6.6, 7.7, 8.8, 9.9, 10.0, 3.3, 4.4]
SECOND = [3.3, 4.4, 8.1, 9.2, 10.3, 11.4, 12.5, 13.6, 14.7, 15.8, 4.4, 9.9]


def test_the_statistic_is_the_one_of_the_textbooks() -> None:
    # As scipy.stats.mannwhitneyu says with method="asymptotic".
    assert mann_whitney(FIRST, SECOND) == pytest.approx(0.014981862177410234, rel=1e-9)
    assert mann_whitney(SECOND, FIRST) == mann_whitney(FIRST, SECOND)
    assert mann_whitney([1.0] * 20, [1.0] * 20) == 1.0


def test_it_finds_a_small_shift_and_none_where_there_is_none() -> None:
    chance = random.Random(7)
    groups: dict[tuple[str, str], list[float]] = {
        (path, kind): [chance.lognormvariate(-6.5, 0.2) for _ in range(1000)] for path in PATHS for kind in KINDS
    }
    assert Answers(groups).unequal() == []
    groups["login", "known"] = [value * 1.05 for value in groups["login", "known"]]
    assert len(Answers(groups).unequal()) == 9


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Mail goes nowhere, and nobody is over a limit."""
    return settings.model_copy(update={"smtp_url": "smtp://127.0.0.1:1", "magic_links_per_hour": 10_000})


async def test_an_answer_tells_nothing_of_the_address_by_its_bytes_or_its_time(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    await put_accounts(resources, TRIES)
    answers = await measure(client, TRIES)
    assert len(answers.shown) == 1
    assert {status for status, _, _ in answers.shown} == {200}
    assert answers.unequal() == []
