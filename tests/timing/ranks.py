"""The Mann-Whitney U test: whether two samples could come from one distribution, whatever its shape."""

import math
from collections.abc import Sequence
from itertools import groupby


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """The two-sided p-value, by the normal approximation with corrections for ties and continuity.

    For samples of twenty or more; 1.0 where all values are equal.
    """
    pooled = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    ranks, ties, seen = 0.0, 0, 0
    for _, group in groupby(pooled, key=lambda item: item[0]):
        members = list(group)
        middle = seen + (len(members) + 1) / 2
        ranks += middle * sum(1 for _, sample in members if sample == 0)
        ties += len(members) ** 3 - len(members)
        seen += len(members)
    m, n = len(first), len(second)
    u = ranks - m * (m + 1) / 2
    variance = m * n / 12 * (m + n + 1 - ties / ((m + n) * (m + n - 1)))
    if not variance:
        return 1.0
    distance = max(0.0, abs(u - m * n / 2) - 0.5)
    return math.erfc(distance / math.sqrt(2 * variance))
