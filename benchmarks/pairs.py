"""Statistics of pairs: two programs measured one right after the other, many times.

What the machine does meanwhile (its clock, its other work) touches both halves of a pair, so the
ratio of a pair says more than the ratio of two averages. Nothing here assumes a distribution.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
FEWEST = 6  # pairs; the range of n values covers the true median with a chance of 1 - 2 ** (1 - n)


@dataclass(frozen=True)
class Pairs:
    """Measurements of ours, each beside the reference of the same round; at least one pair."""

    ours: tuple[float, ...]
    reference: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Return ours over the reference, pair by pair, sorted."""
        return sorted(a / b for a, b in zip(self.ours, self.reference, strict=True))

    @property
    def ratio(self) -> float:
        """Return the median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def interval(self) -> tuple[float, float]:
        """Return a confidence interval of the median ratio, see `median_interval`."""
        return median_interval(self.ratios)

    def verdict(self, target: float) -> str:
        """Say whether the ratio is at least `target`, as far as the interval tells."""
        low, high = self.interval
        if len(self.ours) < FEWEST:
            return "too few rounds"
        if low >= target:
            return "reached"
        if high < target:
            return "missed"
        return "no difference" if target == 1 else "undecided"


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the sign-test interval of the median of `values`.

    Cuts as many values from both ends as leave at least `CONFIDENCE`. With fewer than `FEWEST`
    values even the whole range covers less.
    """
    ordered = sorted(values)
    n, cut = len(ordered), 0
    tail = 1 / 2**n  # the chance that at most `cut` of n values lie below the true median
    while (tail := tail + math.comb(n, cut + 1) / 2**n) <= (1 - CONFIDENCE) / 2 and cut + 1 < n / 2:
        cut += 1
    return ordered[cut], ordered[n - 1 - cut]
