"""Places that accounts share."""

import pytest

from app.core.fair_share import FEW, FairShare


def fill(share: FairShare[str], holder: str, most: int = 10_000) -> int:
    while share.take(holder, most):
        pass
    return share.held(holder)


def test_one_account_never_takes_more_than_half_of_all_places() -> None:
    share: FairShare[str] = FairShare(1000)
    assert fill(share, "alice") == 500


def test_a_few_greedy_accounts_leave_places_for_others() -> None:
    share: FairShare[str] = FairShare(1000)
    for name in ("alice", "bob", "carol", "dan"):
        fill(share, name)
    assert share.total - len(share) > 50
    assert fill(share, "eve", 20) == 20


def test_an_account_has_its_most_and_no_more() -> None:
    share: FairShare[str] = FairShare(1000)
    assert fill(share, "alice", 7) == 7
    share.give_back("alice")
    assert share.take("alice", 7)
    assert not share.take("alice", 7)


def test_a_few_places_are_for_everybody_until_there_are_none() -> None:
    share: FairShare[int] = FairShare(3 * FEW)
    for holder in range(3):
        for _ in range(FEW):
            assert share.take(holder, FEW)
    assert share.full
    assert not share.take(3, FEW)


@pytest.mark.parametrize("total", [0, 1, 7])
def test_places_that_were_given_back_are_all_there_again(total: int) -> None:
    share: FairShare[str] = FairShare(total)
    held = fill(share, "alice")
    for _ in range(held):
        share.give_back("alice")
    assert (len(share), share.held("alice")) == (0, 0)
    assert fill(share, "bob") == held
