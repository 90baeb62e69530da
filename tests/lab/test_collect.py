"""From samples to cells, ratios and what limited them."""

from types import SimpleNamespace
from typing import Any

import pytest

from echoservers.lab.collect import Collection, alike
from echoservers.lab.environment import describe, noise, plan_pinning
from echoservers.lab.experiments import EXPERIMENTS, Experiment, Sample, Timing
from echoservers.lab.limits import what_limits


def experiment() -> Experiment:
    from dataclasses import replace

    return replace(EXPERIMENTS["scaling"], values=(1,), timing=Timing(1, 0, 3))


AT = {"connections": 1, "size": 64}


def collected(**runs: list[Any]) -> Any:
    made = Collection(experiment(), list(runs), baseline="base", reference=None, seed=1)
    for target, values in runs.items():
        for turn, value in enumerate(values):
            sample = value if isinstance(value, Sample) else Sample({"throughput": value})
            made.add(target, AT, turn, sample)
    return made.result()


def test_rounds_are_paired_even_where_one_is_missing() -> None:
    base = [100.0, 200.0, 400.0]
    found = collected(base=base, ours=[110.0, Sample(error="it died"), 440.0])
    ours = found.cells[1]
    assert ours.figures["throughput"].runs == [110.0, None, 440.0]
    assert ours.error == "it died"
    (ratio,) = found.ratios
    assert (ratio.target, ratio.baseline, ratio.figure) == ("ours", "base", "throughput")
    assert ratio.median == pytest.approx(1.1)
    assert ratio.verdict == "faster"


def test_what_the_generator_limited_is_not_ranked() -> None:
    fast = [Sample({"throughput": 900.0}, limited_by="generator") for _ in range(3)]
    found = collected(base=[100.0, 101.0, 102.0], ours=fast)
    assert found.cells[1].limited_by == "generator"
    assert not found.ratios


def test_the_series_are_those_of_the_run_in_the_middle() -> None:
    samples = [Sample({"throughput": value}, {"lanes": [value]}) for value in (1.0, 9.0, 4.0)]
    assert collected(base=samples).cells[0].series == {"lanes": [4.0]}


def test_notes_that_differ_in_a_number_are_one() -> None:
    assert alike(["12 lost", "a", "9 lost", "1,200 lost", "a"]) == ["1,200 lost", "a"]


@pytest.mark.parametrize(
    ("received", "share", "cpus", "processes", "generator", "said"),
    [
        (0, 0.1, 1, 1, None, "time"),
        (9, 0.95, 1, 1, None, "server"),
        (9, 0.95, 1, 1, "busy", "server"),
        (9, 0.5, 1, 1, "busy", "generator"),
        (9, 0.95, 4, 1, None, "server"),  # one process of Python is one processor
        (9, 0.95, 4, 5, None, None),
        (9, 3.7, 4, 5, None, "server"),
        (9, None, 1, 1, "busy", "generator"),
        (9, None, 1, 1, None, None),
    ],
)
def test_who_set_the_pace(
    received: int, share: float, cpus: int, processes: int, generator: str, said: str
) -> None:
    result: Any = SimpleNamespace(received=received)
    found = what_limits(
        result, server_share=share, server_cpus=cpus, processes=processes, generator=generator
    )
    assert found == said


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
