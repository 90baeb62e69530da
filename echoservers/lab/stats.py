"""Statistics of few runs: percentiles, intervals, paired ratios, verdicts.

A run is one server process from its start to its end.  What differs between processes
(memory layout, hash seed, who else is on the machine) differs for all the life of one, so
the samples inside a run are not independent observations, and the number that counts is
that of the runs: a figure is computed per run, and then over the runs (T. Kalibera and
R. Jones, *Rigorous Benchmarking in Reasonable Time*, ISMM 2013; A. Georges et al.,
*Statistically Rigorous Java Performance Evaluation*, OOPSLA 2007).

Of three to eleven runs a bootstrap is too narrow: it never leaves the range of the values,
and the range of three holds the true median in 75 % of all cases, not in 95 %
(T. Hesterberg, *What Teachers Should Know About the Bootstrap*, 2015).  So few runs get
Student's t interval over logarithms, since what is measured here is positive and varies in
proportion; from `BOOTSTRAP_FROM` runs on nothing is assumed about the distribution, and
the median is bootstrapped, with Hesterberg's expanded percentiles.

A target is held against the baseline in pairs, one of each round: what the machine did
meanwhile touches both.  Under "no difference" the logarithm of a ratio is symmetric around
zero whatever the noise looks like, so the t interval errs as often as it says.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "BOOTSTRAP_FROM",
    "CONFIDENCE",
    "NO_DIFFERENCE",
    "Interval",
    "beyond",
    "interval",
    "jain_index",
    "needed_samples",
    "paired_ratio",
    "percentile",
    "verdict",
    "widened",
]

CONFIDENCE = 0.95
BOOTSTRAP_FROM = 12  # runs; with fewer, the bootstrapped median covers less than it says
RESAMPLES = 2000  # the ends of the interval then move by about a tenth of its width
BEYOND = 10
"""Samples that must lie beyond a percentile: the number of those that do is a binomial one,
and with ten expected its 95 % interval is 4 to 17, so the figure is good to its first digit
(J.-Y. Le Boudec, *Performance Evaluation*, 2010, ch. 2: intervals of quantiles)."""

LARGEST = 700.0  # of which exp() is still a float; two runs may be far apart

NO_DIFFERENCE = "no difference"

_T_975 = (  # Student's t for 95 %, by degrees of freedom from 1 on
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


class Interval(NamedTuple):
    """A median, and where the true one is with `CONFIDENCE`; None: there is no such end.

    One run has no interval at all.
    """

    median: float
    low: float | None
    high: float | None


def widened(found: Interval, by: float) -> Interval:
    """*found* of values that have been rounded, each by as much as *by*, either way.

    Rounds that are rounded to the same value agree exactly, which is none of their doing.
    """
    if found.low is None or found.high is None:
        return found
    by *= 1 + 1e-9  # the intervals of neighbours touch, and sums of floats must not part them
    return Interval(found.median, max(0.0, found.low - by), found.high + by)


def needed_samples(quantile: float) -> int:
    """How many samples a run needs for *quantile*, such as 0.999, to mean anything."""
    tail = min(quantile, 1 - quantile)
    return math.ceil(BEYOND / tail - 1e-6)  # 1 - 0.999 is a little less than 0.001


def percentile(
    samples: npt.NDArray[np.float64],
    quantile: float,
    waits: npt.NDArray[np.float64] | None = None,
) -> float | None:
    """The *quantile* of a run's samples, or None where they are too few to carry it.

    :param waits: how long those have waited who had no answer when it ended.
    :returns: infinity where it lies among them: then it is beyond what was seen.
    """
    number = len(samples) + (0 if waits is None else len(waits))
    if number < needed_samples(quantile):
        return None
    return _quantile(samples, quantile, waits)


def _quantile(
    samples: npt.NDArray[np.float64],
    quantile: float,
    waits: npt.NDArray[np.float64] | None,
) -> float:
    """The *quantile* of *samples*, as `percentile` has it.

    Who waits is answered later than he has waited, and nobody knows how much later: such
    observations are censored, and the estimate of their distribution is the product-limit one
    (E. Kaplan and P. Meier, *Nonparametric Estimation from Incomplete Observations*, JASA 53,
    1958).  To leave them out, or to take their ages for times, would be too good.
    """
    if waits is None or not len(waits):
        return float(np.quantile(samples, quantile))
    times = np.concatenate([samples, waits])
    ends = np.arange(len(times)) < len(samples)  # the others have not ended
    order = np.lexsort((~ends, times))
    at_risk = np.arange(len(times), 0, -1)
    surviving = np.cumprod(1 - ends[order] / at_risk)
    reached = surviving <= 1 - quantile + 1e-9
    return float(times[order][np.argmax(reached)]) if reached.any() else math.inf


def beyond(
    name: str, values: npt.NDArray[np.float64], waits: npt.NDArray[np.float64] | None
) -> str:
    """That a figure lies among those who were not answered, and above what that is."""
    left = np.zeros(0) if waits is None else waits
    longest = max(values.max(initial=0.0), left.max(initial=0.0))
    return (
        f"{name} is more than {longest:.3g} s: {len(left):,} not answered, who count as later than"
        " they had waited"
    )


def interval(runs: Sequence[float], seed: int = 0) -> Interval:
    """The median of *runs*, one value a run, and its interval.

    :raises ValueError: there is no run.
    """
    if not len(runs):
        raise ValueError("a median needs a run")
    return _interval(tuple(runs), seed)


@lru_cache(maxsize=8192)  # results are worked out anew whenever a run has been added to some
def _interval(runs: tuple[float, ...], seed: int) -> Interval:
    values = np.asarray(runs, dtype=float)
    median = float(np.median(values))
    if len(values) == 1:
        return Interval(median, None, None)
    if np.ptp(values) == 0:
        return Interval(median, median, median)
    if len(values) >= BOOTSTRAP_FROM:
        low, high = _bootstrapped(values, seed)
    elif values.min() > 0:
        low, high = (math.exp(min(end, LARGEST)) for end in _students(np.log(values)))
    else:
        low, high = _students(values)
    # The interval is around the mean (of the logarithms), the figure is the median.
    return Interval(median, min(low, median), max(high, median))


def paired_ratio(ours: Sequence[float], reference: Sequence[float], seed: int = 0) -> Interval:
    """The ratio of *ours* to *reference*, of which one pair a round was measured.

    :raises ValueError: there is no pair, one is negative, or the reference's is not positive.
    """
    pairs = np.array([ours, reference], dtype=float)
    if not pairs.size or pairs[0].min() < 0 or pairs[1].min() <= 0:
        raise ValueError("a ratio needs pairs, and something to be held against")
    return interval([float(ratio) for ratio in pairs[0] / pairs[1]], seed)


def verdict(ratio: Interval, better: str | None) -> str:
    """What a ratio to the baseline says, as far as its interval allows.

    :param better: ``more`` or ``less``, for a figure that tells how fast something is; None
        for any other, of which there is merely more or less.
    :returns: ``faster``, ``slower``, ``more``, ``less`` or `NO_DIFFERENCE`.
    """
    if ratio.low is not None and ratio.low > 1:
        found = "more"
    elif ratio.high is not None and ratio.high < 1:
        found = "less"
    else:
        return NO_DIFFERENCE
    if better is None:
        return found
    return "faster" if found == better else "slower"


def jain_index(shares: Sequence[float]) -> float:
    """How evenly *shares* are spread: 1 for all alike, 1/n when one of n has everything.

    R. Jain, D. Chiu and W. Hawe, *A Quantitative Measure of Fairness*, DEC-TR-301, 1984.

    :raises ValueError: there is no share, or nothing was shared.
    """
    values = np.asarray(shares, dtype=float)
    if not len(values) or not values.any():
        raise ValueError("nothing was shared")
    scaled = values / values.max()  # whose squares neither overflow nor vanish
    return float(scaled.sum() ** 2 / (len(scaled) * (scaled**2).sum()))


def _students(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    mean = float(values.mean())
    half = _t(len(values)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean - half, mean + half


def _t(runs: int) -> float:
    degrees = runs - 1
    if degrees <= len(_T_975):
        return _T_975[degrees - 1]
    return 1.96 + 2.4 / degrees  # good to 0.003 beyond the table


def _bootstrapped(values: npt.NDArray[np.float64], seed: int) -> tuple[float, float]:
    """The expanded percentile interval of the median: percentiles as far out as t is from z."""
    draws: npt.NDArray[Any] = np.random.default_rng(seed).choice(values, (RESAMPLES, len(values)))
    n = len(values)
    tail = 0.5 * math.erfc(math.sqrt(n / (n - 1)) * _t(n) / math.sqrt(2))
    low, high = np.quantile(np.median(draws, axis=1), [tail, 1 - tail])
    return float(low), float(high)
