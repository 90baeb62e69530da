"""What the statistics say, for any values; and how often they are wrong."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoservers.lab.stats import (
    BOOTSTRAP_FROM,
    NO_DIFFERENCE,
    Interval,
    beyond,
    interval,
    jain_index,
    needed_samples,
    paired_ratio,
    percentile,
    verdict,
)

positive = st.floats(min_value=1e-6, max_value=1e9)
runs = st.lists(positive, min_size=1, max_size=20)
few = st.lists(positive, min_size=2, max_size=BOOTSTRAP_FROM - 1)


@settings(deadline=None)
@given(runs)
def test_an_interval_holds_its_median(values: list[float]) -> None:
    found = interval(values)
    assert found.median == float(np.median(values))
    if len(values) == 1:
        assert found.low is None
        assert found.high is None
    else:
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.median <= found.high


@settings(deadline=None)
@given(few, st.floats(min_value=1e-3, max_value=1e3))
def test_another_unit_changes_the_interval_by_that_factor(
    values: list[float], factor: float
) -> None:
    found, scaled = interval(values), interval([value * factor for value in values])
    for one, other in zip(found, scaled, strict=True):
        assert one is not None
        assert other == pytest.approx(one * factor, rel=1e-6)


@settings(deadline=None)
@given(runs, st.randoms())
def test_the_order_of_few_runs_does_not_matter(values: list[float], random: object) -> None:
    mixed = sorted(values)
    assert interval(mixed).median == interval(values).median


@settings(deadline=None)
@given(st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=2, max_size=11))
def test_values_that_are_not_positive_have_an_interval_too(values: list[float]) -> None:
    found = interval(values)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.median <= found.high


@settings(deadline=None)
@given(st.lists(positive, min_size=2, max_size=20))
def test_the_same_values_make_no_difference(values: list[float]) -> None:
    assert paired_ratio(values, values) == Interval(1, 1, 1)
    assert verdict(paired_ratio(values, values), "more") == NO_DIFFERENCE


@settings(deadline=None)
@given(st.lists(st.tuples(positive, positive), min_size=2, max_size=11))
def test_a_ratio_the_other_way_round_is_the_inverse(pairs: list[tuple[float, float]]) -> None:
    ours, reference = zip(*pairs, strict=True)
    one, other = paired_ratio(ours, reference), paired_ratio(reference, ours)
    assert one.low is not None
    assert other.high is not None
    # The median of an even number is between two, whose inverses' middle is another.
    if len(pairs) % 2 and one.low < one.median < one.high:
        assert one.low == pytest.approx(1 / other.high, rel=1e-6)
    opposite = {"faster": "slower", "slower": "faster", NO_DIFFERENCE: NO_DIFFERENCE}
    if len(pairs) % 2:
        assert verdict(other, "more") == opposite[verdict(one, "more")]


@pytest.mark.parametrize(
    ("low", "high", "better", "said"),
    [
        (1.1, 1.3, "more", "faster"),
        (1.1, 1.3, "less", "slower"),
        (0.7, 0.9, "less", "faster"),
        (0.7, 0.9, "more", "slower"),
        (0.9, 1.1, "more", NO_DIFFERENCE),
        (1.0, 1.1, "more", NO_DIFFERENCE),
        (1.1, 1.3, None, "more"),
        (0.7, 0.9, None, "less"),
        (None, None, "more", NO_DIFFERENCE),  # of one run
        (1.1, None, "more", "faster"),  # of some runs that the generator limited
        (0.7, None, "more", NO_DIFFERENCE),
        (None, 0.9, "less", "faster"),
        (None, 1.3, "less", NO_DIFFERENCE),
    ],
)
def test_a_verdict_goes_no_further_than_its_interval(
    low: float, high: float, better: str, said: str
) -> None:
    assert verdict(Interval(1.2, low, high), better) == said


@pytest.mark.parametrize("rounds", [3, 5, 8, 12, 20])
@pytest.mark.parametrize("noise", ["normal", "skewed"])
def test_the_same_against_the_same_is_a_false_alarm_in_one_of_twenty(
    rounds: int, noise: str
) -> None:
    random = np.random.default_rng(rounds)

    def measured() -> list[float]:
        values = random.normal(0, 0.03, rounds)
        if noise == "skewed":  # now and then something else runs
            values = values - (random.random(rounds) < 0.2) * random.exponential(0.2, rounds)
        return list(np.exp(values) * 1e5)

    tries = 400
    alarms = sum(
        verdict(paired_ratio(measured(), measured()), "more") != NO_DIFFERENCE for _ in range(tries)
    )
    # Five in a hundred are meant; 5 % of 400 is 20, with a standard deviation of 4.4.
    assert alarms / tries <= 0.085


def test_three_in_a_hundred_are_found_where_the_noise_is_two() -> None:
    random = np.random.default_rng(1)
    reference = np.exp(random.normal(0, 0.02, 20))
    ours = np.exp(random.normal(0, 0.02, 20)) / 1.03
    assert verdict(paired_ratio(list(ours), list(reference)), "more") == "slower"


def test_a_percentile_needs_samples_beyond_it() -> None:
    assert [needed_samples(q) for q in (0.5, 0.9, 0.99, 0.999)] == [20, 100, 1000, 10000]
    assert percentile(np.arange(999.0), 0.99) is None
    assert percentile(np.arange(990.0), 0.99, np.full(10, 5000.0)) is not None
    assert percentile(np.arange(1000.0), 0.99) == pytest.approx(989, abs=1)


@settings(deadline=None)
@given(st.lists(st.floats(min_value=0, max_value=1e300), min_size=1, max_size=50))
def test_jains_index_is_between_one_for_all_and_all_for_one(shares: list[float]) -> None:
    if not any(shares):
        with pytest.raises(ValueError, match="shared"):
            jain_index(shares)
        return
    assert 1 / len(shares) - 1e-9 <= jain_index(shares) <= 1 + 1e-9


def test_jains_index_of_known_shares() -> None:
    assert jain_index([5, 5, 5]) == pytest.approx(1)
    assert jain_index([9, 0, 0]) == pytest.approx(1 / 3)
    assert jain_index([1, 2, 3]) == pytest.approx(36 / (3 * 14))


def test_nothing_has_no_median_and_no_ratio() -> None:
    with pytest.raises(ValueError, match="run"):
        interval([])
    for pairs in ([], [(1.0, 0.0)], [(1.0, -1.0)], [(-1.0, 1.0)]):
        with pytest.raises(ValueError, match="a ratio needs pairs"):
            paired_ratio([a for a, _ in pairs], [b for _, b in pairs])
    assert paired_ratio([0.0, 2.0], [1.0, 1.0]).median == 1  # nothing is 0 times as much
    assert math.isclose(interval([2.0]).median, 2)


def test_who_was_not_answered_is_at_least_as_late_as_he_has_waited() -> None:
    answered, never = np.full(1000, 0.001), np.full(30, 5.0)
    assert percentile(answered, 0.99) == 0.001
    assert percentile(answered, 0.99, never) == np.inf
    assert percentile(answered, 0.9, never) == 0.001
    assert "p99 is more than 5 s: 30 not answered" in beyond("p99", answered, never)
    # Some of them were answered later than others: 995 of 1030 are 96.6 %.
    assert percentile(np.append(np.full(990, 0.001), np.full(10, 9.0)), 0.965, never) == 9


def test_who_has_just_asked_changes_no_percentile() -> None:
    drawn = np.random.default_rng(1)
    answered = drawn.exponential(0.01, 20_000)
    ages = drawn.exponential(0.01, 64)  # of what is on its way, at a time that nobody chose
    for quantile in (0.5, 0.9, 0.99):
        plain = percentile(answered, quantile)
        assert percentile(answered, quantile, ages) == pytest.approx(plain, rel=0.02)


def test_of_nobody_answered_there_is_no_percentile() -> None:
    assert percentile(np.zeros(0), 0.5, np.full(40, 2.0)) == np.inf
