"""Places of one process that accounts share, such as its open streams: nobody takes them all."""

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

# A holder may have so many whatever the others hold, as long as there are any.
FEW = 5


Holder = TypeVar("Holder", bound=Hashable)


class FairShare(Generic[Holder]):
    """Counts who holds how many of `total` places.

    A holder may have as many as are free, and never more than `most`: alone, half of all; a second one gets a third. So
    a few holders leave places, however much each of them asks for.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._held: Counter[Holder] = Counter()
        self._taken = 0

    def __len__(self) -> int:
        return self._taken

    @property
    def full(self) -> bool:
        """Whether nobody gets a place."""
        return self._taken >= self.total

    def held(self, holder: Holder) -> int:
        """How many places the holder has."""
        return self._held[holder]

    def take(self, holder: Holder, most: int) -> bool:
        """Take a place; False where the holder may have no more now."""
        free = self.total - self._taken
        if free <= 0 or self._held[holder] >= min(most, max(FEW, free)):
            return False
        self._held[holder] += 1
        self._taken += 1
        return True

    def give_back(self, holder: Holder) -> None:
        """Free one place of the holder's."""
        self._held[holder] -= 1
        self._taken -= 1
        if not self._held[holder]:
            del self._held[holder]
