"""What is said of results holds by their intervals, whatever the results are."""

import random
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoservers.lab import charts
from echoservers.lab.against import compare_runs
from echoservers.lab.caveats import about_experiment
from echoservers.lab.claims import names
from echoservers.lab.ranking import beyond, rank
from echoservers.lab.results import Cell, Experiment, Figure
from echoservers.lab.sentences import sentences_of
from echoservers.lab.stats import interval
from echoservers.lab.tables import BEST, tables_of
from echoservers.lab.units import interval as interval_text
from echoservers.lab.units import scale_for, size
from lab_sample import SHAPES, sample_results

NAMES = ("throughput", "p99", "kept_share", "jain_index", "memory_pss", "connect_max", "refused")


def figure(runs: list[float], better: str | None) -> Figure:
    return Figure(*interval(runs), "messages/s", list(runs), better)


def experiment(name: str, seed: int, spread: float, repeats: int) -> Experiment:
    """A sweep in which servers may differ, or not."""
    drawn = random.Random(seed)
    cells = []
    for target in ("a", "b", "c", "d"):
        for at in (1, 100):
            cell = Cell(target, {"x": at}, drawn.choice([None, "server", "generator", "time"]))
            cell.error = "broke" if drawn.random() < 0.1 else None
            for figure_ in NAMES if not cell.error else ():
                middle = 100 * drawn.choice([1, 1.02, 1.5])
                runs = [middle * drawn.gauss(1, spread) for _ in range(repeats)]
                better = "more" if figure_ in ("throughput", "jain_index") else "less"
                made = figure([max(run, 0.1) for run in runs], better)
                if repeats > 1 and drawn.random() < 0.2:  # the generator limited some runs
                    made = replace(made, **{"high" if better == "more" else "low": None})
                cell.figures[figure_] = made
            cells.append(cell)
    return Experiment(name, "T", "Q?", "S", "x", "xs", [1, 100], repeats, 1, 0, None, cells)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*SHAPES, "own"]),
    st.integers(0, 10**6),
    st.sampled_from([0.001, 0.03, 0.3]),
    st.integers(1, 6),
)
def test_no_sentence_claims_what_intervals_do_not_show(
    name: str, seed: int, spread: float, repeats: int
) -> None:
    made = experiment(name, seed, spread, repeats)
    sentences = sentences_of(made)
    assert len(sentences) == 2
    assert len({sentence.text for sentence in sentences}) == 2
    for sentence in sentences:
        for claim in sentence.claims:
            assert beyond(claim.ahead, claim.behind, claim.better)
        compares = re.search(r"has the (highest|lowest)|clearly (behind|falls|rises|below)",
                             sentence.text)  # fmt: skip
        denies = re.search(r"none of|None of|does not end", sentence.text)
        assert bool(sentence.claims) or not compares or denies


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.001, 0.03, 0.3]), st.integers(1, 6))
def test_winners_in_tables_are_clear_of_all_others(seed: int, spread: float, repeats: int) -> None:
    made = experiment("scaling", seed, spread, repeats)
    for table in tables_of(made):
        for column in zip(*(row for _name, row in table.rows), strict=True):
            for best in [entry for entry in column if entry.mark == BEST]:
                others = [e for e in column if e is not best and e.figure and not e.note
                          and e.mark != "generator-limited"]  # fmt: skip
                assert best.figure
                for other in others:
                    better = best.figure.better
                    assert better
                    assert beyond(best.figure, other.figure, better)  # type: ignore[arg-type]


def test_generator_limited_is_never_ranked() -> None:
    fast = Cell("fast", {}, "generator", figures={"throughput": figure([900, 901, 902], "more")})
    slow = Cell("slow", {}, "server", figures={"throughput": figure([100, 101, 102], "more")})
    ranking = rank([fast, slow], "throughput")
    assert ranking
    assert ranking.winner is None
    assert [entry.target for entry in ranking.limited] == ["fast"]


def test_what_may_be_better_than_it_seems_is_behind_nobody() -> None:
    fast, slow, open_ = (
        Cell(name, {}, "server", figures={"throughput": figure(runs, "more")})
        for name, runs in (("fast", [900, 901, 902]), ("slow", [100, 101, 102]), ("?", [500] * 3))
    )
    held = replace(open_.figures["throughput"], high=None)
    open_.figures["throughput"] = held
    ranking = rank([fast, slow, open_], "throughput")
    assert ranking
    assert ranking.winner is None
    assert [entry.target for entry in ranking.leaders] == ["fast", "?"]
    assert beyond(held, slow.figures["throughput"], "more")
    assert interval_text(scale_for("messages/s", [500]), held) == "\N{GREATER-THAN OR EQUAL TO} 500"


def test_what_may_have_been_better_is_not_called_slower_than_another_time() -> None:
    before, after = (sample_results(("scaling",), servers=1) for _ in range(2))
    known = Cell("a", {}, "server", figures={"throughput": figure([900, 901, 902], "more")})
    held = Cell("a", {}, "server", figures={"throughput": figure([500, 501, 502], "more")})
    held.figures["throughput"].high = None
    before.experiments[0].cells, after.experiments[0].cells = [known], [held]
    ((table,), _), ((back,), _) = compare_runs(before, after), compare_runs(after, before)
    notes = [row[0].note for made in (table, back) for _name, row in made.rows]
    assert notes == ["no difference", "no difference"]  # 902 / 500 may be 902 / 1000
    held.figures["throughput"] = figure([1500, 1501, 1502], "more")
    held.figures["throughput"].high = None
    ((table,), _), ((back,), _) = compare_runs(before, after), compare_runs(after, before)
    notes = [row[0].note for made in (table, back) for _name, row in made.rows]
    assert notes == ["faster", "slower"]


def test_the_same_run_against_itself_shows_no_difference() -> None:
    results = sample_results(("scaling",), servers=4)
    tables, warnings = compare_runs(results, results)
    notes = {e.note for table in tables for _name, row in table.rows for e in row if e.figure}
    assert notes <= {"no difference", "not ranked"}
    assert warnings == []


def test_a_slower_run_is_called_slower() -> None:
    before, after = (sample_results(("churn",), servers=3, noise=0.01) for _ in range(2))
    for cell in after.experiments[0].cells:
        rate = cell.figures["connections_per_second"]
        cell.figures["connections_per_second"] = figure(
            [(run or 0) * 0.8 for run in rate.runs], "more"
        )
    (table,), _warnings = compare_runs(before, after)
    column = table.heads.index("Connections a second")
    assert [row[column].note for _name, row in table.rows] == ["slower"] * 3


def test_what_differs_between_two_runs_is_warned_of() -> None:
    before = sample_results(("churn", "size"), servers=3)
    after = sample_results(("churn",), servers=4, noisy=True)
    after.environment["python"] = "3.13.1 (CPython)"
    after.experiments[0].duration = 9
    warnings = " ".join(compare_runs(before, after).warnings)
    for words in ("Python differs", "noisy", "duration differs", "1 measurement only now",
                  "size was measured before"):  # fmt: skip
        assert words in warnings


@pytest.mark.parametrize(
    ("many", "said"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c", "d", "e"], "a, b, c, d and e"),
        (list("abcdef"), "a, b, c, d and 2 others"),
    ],
)
def test_lists_of_names(many: list[str], said: str) -> None:
    assert names(many) == said


@pytest.mark.parametrize(
    ("unit", "values", "value", "said"),
    [
        ("s", [0.0012, 0.0034], 0.00123456, "1.23 ms"),
        ("s", [1e-6, 1.0], 1.0, "1.00 s"),
        ("bytes", [2.5e6], 2_500_000, "2.50 MB"),
        ("messages/s", [12_345.0], 12_345.0, "12,300 messages/s"),
        ("threads", [10_001.0], 10_001.0, "10,001"),
        ("share", [0.5], 0.123, "12.3 %"),
        ("messages/s", [9.999], 9.999, "10.0 messages/s"),
        ("", [], 0.0, "0"),
    ],
)
def test_numbers_for_people(unit: str, values: list[float], value: float, said: str) -> None:
    assert scale_for(unit, values).with_unit(value) == said


@pytest.mark.parametrize(
    ("bytes_", "said"), [(1, "1 B"), (64, "64 B"), (1400, "1,400 B"), (65536, "64 KiB"),
                         (1 << 20, "1 MiB"), (1536, "1.5 KiB")]
)  # fmt: skip
def test_sizes_for_people(bytes_: int, said: str) -> None:
    assert size(bytes_) == said


def test_the_least_busy_worker_is_that_of_all_and_not_of_those_drawn() -> None:
    shown = {"x": ["worker 1", "worker 2"], "y": [9.0, 8.0], "workers": 70, "least": 1.0}
    cell = Cell("a", {"clients": 8}, series={"served_by_worker": shown})
    cell.figures["jain_index"] = figure([0.9, 0.9, 0.9], "more")
    made = Experiment("fairness", "T", "Q?", "S", "clients", "", [8], 1, 1, 0, None, [cell])
    (said, *_) = [s.text for s in sentences_of(made) if "busiest" in s.text]
    assert "the busiest of the 70 workers of a served 9 clients and the least busy one 1" in said


def sweep(*limits: str | None) -> Experiment:
    """Two settings of each server, the same for all; the limits are of the servers."""
    cells = [
        Cell(f"s{n}", {"x": at}, limit, figures={"throughput": figure([9.0, 10.0, 11.0], "more")})
        for n, limit in enumerate(limits)
        for at in (1, 100)
    ]
    return Experiment("scaling", "T", "Q?", "S", "x", "xs", [1, 100], 3, 1, 0, None, cells)


def test_one_server_is_named_and_the_others_are_not_passed_over() -> None:
    texts = [s.text for s in sentences_of(sweep("server", "generator", "time"))]
    said = "s0 does not end clearly below its own best throughput; of 2 others it cannot be told."
    assert said in texts
    texts = [s.text for s in sentences_of(sweep("server", None))]
    assert "None of 2 servers ends clearly below its own best throughput." in texts


def memory(target: str, at: int, pss: float, share: float = 1, limit: str | None = None) -> Cell:
    cell = Cell(target, {"connections": at}, limit)
    cell.figures["memory_pss"] = figure([pss * 0.99, pss, pss * 1.01], "less")
    if at:
        cell.figures["answered_share"] = figure([share] * 3, "more")
    return cell


def test_who_let_clients_go_is_not_said_to_hold_them() -> None:
    cells = [
        *(memory("all", 0, 1e6), memory("all", 1000, 9e6)),
        *(memory("some", 0, 1e6), memory("some", 1000, 8e6, 0.5)),
        *(memory("late", 0, 1e6), memory("late", 1000, 7e6, 1, "time")),
    ]
    made = Experiment(
        "idle", "T", "Q?", "S", "connections", "idle connections", [0, 1000], 3, 1, 0, None, cells
    )
    more = [memory("none", 0, 1e6), memory("none", 1000, 30e6)]
    texts = [s.text for s in sentences_of(replace(made, cells=[*cells, *more]))]
    assert any(t.endswith("; 1 other did not take all clients.") for t in texts)
    (said,) = [s.text for s in sentences_of(made) if s.text.startswith("From 0")]
    assert "of all clearly rises" in said
    assert said.endswith("; of 2 others it cannot be told.")


def test_a_stalled_server_is_told_of_where_that_is_the_question() -> None:
    cells = []
    for at, limit, rate in (("none", "server", 1000.0), ("silent", "time", 1.0)):
        cell = Cell("tcp", {"neighbour": at}, limit)
        cell.figures["throughput"] = figure([rate * 0.99, rate, rate * 1.01], "more")
        cells.append(cell)
    made = Experiment(
        "slow-client", "T", "Q?", "S", "neighbour", "", ["none", "silent"], 3, 1, 0, None, cells
    )
    assert "of tcp clearly falls" in sentences_of(made)[0].text
    made.name = "own"
    assert not any(sentence.claims for sentence in sentences_of(made))


def test_of_a_single_share_of_the_peak_nothing_rises() -> None:
    results = sample_results(("latency",), servers=3)
    (made,) = results.experiments
    assert any("From 30 to 90 %" in sentence.text for sentence in sentences_of(made))
    made.values = [70]
    made.cells = [cell for cell in made.cells if cell.parameters["percent"] == 70]
    said = [sentence.text for sentence in sentences_of(made)]
    assert said
    assert not any("From 70" in text or " rises" in text for text in said)


def test_remarks_that_differ_in_a_number_are_one() -> None:
    results = sample_results(("scaling",), servers=3)
    made = sweep(None, None, None)
    for number, cell in enumerate(made.cells):
        cell.notes = [f"for {number}0% of the time the generator had no processor to run on"]
    found = [c for c in about_experiment(results, made) if "no processor to run" in c]
    said = "for 50% of the time the generator had no processor to run on"
    assert found == [f"s0, s1 and s2: {said} (6 measurements)."]


def test_one_wild_interval_does_not_press_the_others_to_the_ground() -> None:
    wild = charts.Point(1, 2.0, 0.0001, 5000.0)
    assert charts._ends([charts.Point(0, 3.0, 2.5, 3.5), wild]) == [2.5, 3.5, 0.0001, 7.5]
