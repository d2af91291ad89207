"""Shares the places of one process, such as open streams, among accounts: no account takes all."""

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

# Each holder may have this many while any are free.
FEW = 5


Holder = TypeVar("Holder", bound=Hashable)


class FairShare(Generic[Holder]):
    """Counts the places, of `total`, that each holder has.

    A holder may have as many as are free, and at most `most`: half of all if alone, a third for a second holder. A few
    holders therefore always leave places.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._held: Counter[Holder] = Counter()
        self._taken = 0

    def __len__(self) -> int:
        return self._taken

    @property
    def full(self) -> bool:
        """Whether no place is left for anyone."""
        return self._taken >= self.total

    def held(self, holder: Holder) -> int:
        """Return the number of the holder's places."""
        return self._held[holder]

    def take(self, holder: Holder, most: int) -> bool:
        """Take a place; returns False if the holder may have no more."""
        free = self.total - self._taken
        if free <= 0 or self._held[holder] >= min(most, max(FEW, free)):
            return False
        self._held[holder] += 1
        self._taken += 1
        return True

    def give_back(self, holder: Holder) -> None:
        """Free one of the holder's places."""
        self._held[holder] -= 1
        self._taken -= 1
        if not self._held[holder]:
            del self._held[holder]
