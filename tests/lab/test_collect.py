"""From samples to cells, ratios and what limited them."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from echoservers.lab import limits
from echoservers.lab.collect import Collection
from echoservers.lab.environment import describe, kept_on, noise, plan_pinning
from echoservers.lab.experiments import EXPERIMENTS, Experiment, Sample, Timing
from echoservers.lab.experiments.base import add_percentiles
from echoservers.lab.limits import usable_by, what_limits
from echoservers.lab.notes import alike
from echoservers.system import usable_cpus


def experiment(repeats: int = 3) -> Experiment:
    from dataclasses import replace

    return replace(EXPERIMENTS["scaling"], values=(1,), timing=Timing(1, 0, repeats))


AT = {"connections": 1, "size": 64}


def collected(**runs: list[Any]) -> Any:
    repeats = max(map(len, runs.values()))
    made = Collection(experiment(repeats), list(runs), baseline="base", references={}, seed=1)
    for target, values in runs.items():
        for turn, value in enumerate(values):
            sample = value if isinstance(value, Sample) else Sample({"throughput": value})
            made.add(target, AT, turn, sample)
    return made.result()


def test_rounds_are_paired_even_where_one_is_missing() -> None:
    base = [100.0, 200.0, 400.0]
    found = collected(base=base, ours=[110.0, Sample(), 440.0])
    ours = found.cells[1]
    assert ours.figures["throughput"].runs == [110.0, None, 440.0]
    (ratio,) = found.ratios
    assert (ratio.target, ratio.baseline, ratio.figure) == ("ours", "base", "throughput")
    assert ratio.median == pytest.approx(1.1)
    assert ratio.verdict == "faster"


def test_what_the_generator_limited_is_not_ranked() -> None:
    fast = [Sample({"throughput": 900.0}, limited_by="generator") for _ in range(3)]
    found = collected(base=[100.0, 101.0, 102.0], ours=fast)
    assert found.cells[1].limited_by == "generator"
    assert not found.ratios


def limited(values: list[float], *generator: int) -> list[Sample]:
    """Runs of which some were the *generator*'s."""
    return [
        Sample({"throughput": value}, limited_by="generator" if turn in generator else "server")
        for turn, value in enumerate(values)
    ]


BASE = [100.0, 101.0, 99.0, 100.5, 99.5]


def test_runs_that_the_generator_limited_stay_among_the_others() -> None:
    ours = limited([95.0, 96.0, 95.5, 120.0, 121.0], 3, 4)  # the fastest: it is they it limits
    found = collected(base=BASE, ours=ours)
    cell = found.cells[1]
    figure = cell.figures["throughput"]
    assert cell.limited_by == "server"
    assert figure.runs == [95.0, 96.0, 95.5, 120.0, 121.0]
    assert figure.median == 96.0
    assert figure.low is not None
    assert figure.high is None  # nobody knows what those two would have been
    (note,) = cell.notes
    assert note.startswith("generator-limited: 2 of 5 runs; ")
    (ratio,) = found.ratios
    assert ratio.verdict == "no difference"
    assert ratio.high is None


def test_what_the_generator_limited_may_be_better_than_it_seems_and_never_worse() -> None:
    ours = limited([200.0, 202.0, 203.0, 201.0, 204.0], 3)
    (ratio,) = collected(base=BASE, ours=ours).ratios
    assert ratio.verdict == "faster"
    assert (ratio.low or 0) > 1
    low = limited([50.0, 50.5, 49.5, 50.0, 51.0], 3)
    (ratio,) = collected(base=BASE, ours=low).ratios
    assert ratio.verdict == "no difference"


def test_a_baseline_that_the_generator_limited_may_be_better_than_it_seems() -> None:
    base = limited(BASE, 1)
    (ratio,) = collected(base=base, ours=[200.0, 202.0, 203.0, 201.0, 204.0]).ratios
    assert (ratio.low, ratio.verdict) == (None, "no difference")
    (ratio,) = collected(base=base, ours=[50.0, 50.5, 49.5, 50.0, 51.0]).ratios
    assert ratio.verdict == "slower"


def test_times_of_a_generator_that_was_limited_may_be_shorter_and_memory_is_what_it_is() -> None:
    names = {"throughput": 9.0, "p99": 0.001, "memory_pss": 1e6}
    runs = [
        Sample({name: value * (1 + turn / 100) for name, value in names.items()},
               limited_by="generator" if turn == 2 else None)
        for turn in range(5)
    ]  # fmt: skip
    figures = collected(base=runs).cells[0].figures
    assert (figures["p99"].low, figures["throughput"].high) == (None, None)
    assert None not in (figures["p99"].high, figures["throughput"].low)
    assert None not in (figures["memory_pss"].low, figures["memory_pss"].high)


def test_without_a_majority_of_other_rounds_a_cell_is_the_generators() -> None:
    found = collected(base=[100.0, 101.0, 102.0], ours=limited([200.0, 201.0, 202.0], 0, 2))
    assert found.cells[1].limited_by == "generator"
    assert found.cells[1].figures["throughput"].runs == [200.0, 201.0, 202.0]  # shown
    assert not found.ratios


def test_a_percentile_that_some_runs_are_too_short_for_is_not_that_of_the_fast_ones() -> None:
    runs = []
    for number in (5000, 900, 5000):
        runs.append(Sample({"throughput": float(number)}))
        add_percentiles(runs[-1], np.full(number, 0.001), {"p50": 0.5, "p99": 0.99})
    (cell,) = collected(base=runs).cells
    assert set(cell.figures) == {"throughput", "p50"}
    assert cell.notes == ["p99 needs 1,000 samples a run: there were fewer"]


@pytest.mark.parametrize("limit", ["generator", "time", "memory", "descriptors"])
def test_nothing_but_the_servers_own_pace_makes_a_ratio(limit: str) -> None:
    slow = [Sample({"throughput": value}, limited_by=limit) for value in (1.0, 2.0, 3.0)]
    assert not collected(base=[100.0, 101.0, 102.0], ours=slow).ratios
    assert not collected(base=slow, ours=[100.0, 101.0, 102.0]).ratios


def test_what_failed_once_makes_no_ratio() -> None:
    found = collected(base=[100.0, 101.0, 102.0], ours=[50.0, Sample(error="it died"), 51.0])
    assert found.cells[1].error == "it died"
    assert not found.ratios


def test_a_round_in_which_nobody_was_served_counts() -> None:
    base = [100.0, 101.0, 102.0]
    (ratio,) = collected(base=base, ours=[200.0, 0.0, 202.0]).ratios
    assert ratio.low is not None
    assert ratio.low < 0.1  # and is not "faster" by what the two other rounds say
    assert ratio.verdict == "no difference"
    void = collected(base=[100.0, 0.0, 102.0], ours=[200.0, 201.0, 202.0])
    assert not void.ratios
    (note,) = void.cells[1].notes
    assert note == "throughput: no ratio to base, whose was 0 in 1 of 3 rounds"


def test_a_percentile_that_one_run_cannot_tell_is_not_that_of_the_others() -> None:
    good = Sample({"throughput": 9.0, "p99": 0.001})
    stuck = Sample({"throughput": 9.0}, withheld={"p99": "p99 is more than 5 s: ..."})
    (cell,) = collected(base=[good, stuck, good]).cells
    assert set(cell.figures) == {"throughput"}
    assert cell.notes == ["p99 is more than 5 s: ..."]


def test_the_limit_of_a_cell_that_failed_is_that_of_the_failure() -> None:
    ended = Sample(error="it was killed", limited_by="memory")
    found = collected(base=[100.0, ended, 100.0])
    assert found.cells[0].limited_by == "memory"


def test_the_series_are_those_of_the_run_in_the_middle() -> None:
    samples = [Sample({"throughput": value}, {"lanes": [value]}) for value in (1.0, 9.0, 4.0)]
    assert collected(base=samples).cells[0].series == {"lanes": [4.0]}


def test_notes_that_differ_in_a_number_are_one() -> None:
    assert alike(["12 lost", "a", "9 lost", "1,200 lost", "a"]) == ["1,200 lost", "a"]


@pytest.mark.parametrize(
    ("received", "share", "usable", "generator", "offered", "said"),
    [
        (0, 0.1, 1, None, False, "time"),
        (9, 0.95, 1, None, False, "server"),
        (9, 0.95, 1, "busy", False, "server"),
        (9, 0.95, 1, "late", True, "generator"),  # its times are those of the generator
        (9, 0.95, 1, None, True, "server"),
        (9, 0.5, 1, "busy", False, "generator"),
        (9, 0.95, 4, None, False, None),
        (9, 3.7, 4, None, False, "server"),
        (9, None, 1, "busy", False, "generator"),
        (9, None, 1, None, False, None),
    ],
)
def test_who_set_the_pace(
    received: int, share: float, usable: int, generator: str, offered: bool, said: str
) -> None:
    result: Any = SimpleNamespace(received=received, plan=SimpleNamespace(is_scheduled=offered))
    found = what_limits(result, server_share=share, usable=usable, generator=generator)
    assert found == said


@pytest.mark.parametrize(
    ("cpus", "processes", "threads", "lock", "said"),
    [
        (4, 1, 50, True, 1),
        (4, 1, 50, False, 4),  # as of a server in Go or Java
        (4, 1, 1, False, 1),
        (4, 3, 3, True, 3),
        (2, 5, 50, True, 2),
    ],
)
def test_how_many_processors_a_server_can_use(
    cpus: int, processes: int, threads: int, lock: bool, said: int
) -> None:
    assert usable_by(cpus, processes, threads, lock) == said


def test_the_kernels_killings_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, group = tmp_path / "vmstat", tmp_path / "memory.events"
    machine.write_text("pgfault 7\noom_kill 2\nswap_ra 9\n")
    group.write_text("low 0\noom 9\noom_kill 3\noom_group_kill 0\n")
    monkeypatch.setattr(limits, "OOM_COUNTERS", (machine, group, tmp_path / "none"))
    assert limits.oom_kills() == 5


def test_the_measuring_stays_off_the_servers_processor() -> None:
    before = usable_cpus()
    one = frozenset([max(before)])
    inside: list[frozenset[int]] = []
    go, done = threading.Event(), threading.Event()

    def look() -> None:
        go.wait()
        inside.append(usable_cpus())
        done.set()

    thread = threading.Thread(target=look)
    thread.start()  # before, as that of a progress bar
    with kept_on(one):
        go.set()
        done.wait()
        inside.append(usable_cpus())
    thread.join()
    assert inside == [one, one]
    assert usable_cpus() == before
    with kept_on(None):
        assert usable_cpus() == before


def test_the_environment_is_described() -> None:
    pinning = plan_pinning(frozenset({2, 5, 7}))
    assert pinning == ({2, 5}, {7})
    assert plan_pinning(frozenset({3})) is None
    found = describe(pinning)
    assert found["pinning"] == {"server": [2, 5], "generator": [7]}
    assert found["cpus"] >= found["usable_cpus"] >= 1
    assert len(found["load_before"]) == 3
    assert describe(None)["warnings"]
    assert noise()["median"] > 0
