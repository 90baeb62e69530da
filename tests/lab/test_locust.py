"""Locust as the load: what it refuses, what is made of what it tells, and what it cannot tell."""

import contextlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from echoservers.errors import ModeNotAvailable, OptionError
from echoservers.lab.collect import Collection
from echoservers.lab.custom import read_experiment
from echoservers.lab.experiments import EXPERIMENTS
from echoservers.lab.experiments.base import Sample, Timing
from echoservers.lab.load import LoadPlan
from echoservers.lab.locust import __main__ as program
from echoservers.lab.locust import engine
from echoservers.lab.ranking import beyond
from support import ROOT

needs_locust = pytest.mark.skipif(find_spec("locust") is None, reason="Locust is not installed")

TCP = "tcp://127.0.0.1:8007"
CLOSED = ("scaling", "churn", "size", "work")
REFUSED = (
    "--engine locust cannot make the load of latency, idle: it is for scaling, churn, size, work,"
    " and closed loops of your own"
)


def locust(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "echoservers.lab.locust", *options],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        check=False,
    )


# --- what it is for -----------------------------------------------------------------------


def test_it_is_for_the_closed_loops() -> None:
    assert tuple(name for name, each in EXPERIMENTS.items() if each.plain) == CLOSED


@pytest.mark.parametrize(
    ("load", "plain"),
    [
        ("size = 64", True),
        ("shape = 'churn'", True),
        ("pipeline = 4", False),
        ("silent = 1", False),
        ("shape = 'churn'\nmessages_per_connection = 2", False),
        ("shape = 'open'\nrate = 100", False),
    ],
)
def test_of_a_file_it_takes_what_is_a_closed_loop(load: str, plain: bool, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    sweep = "[sweep]\nparameter = 'connections'\nvalues = [1]\n"
    path.write_text(f"name = 'own'\nquestion = 'Why?'\n[load]\n{load}\n{sweep}")
    assert read_experiment(path).plain is plain


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--engine", "locust", "--experiment", "latency,scaling,idle"), REFUSED),
        (("--engine", "wasp"), "--engine: invalid choice: 'wasp'"),
        (("--locust-workers", "2"), "--locust-workers is for --engine locust"),
        (("--engine", "locust", "--locust-workers", "0"), "a whole number from 1 to 256"),
    ],
)
def test_what_it_cannot_do_is_one_line(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from echoservers.cli import main

    lines: list[str] = []
    monkeypatch.setattr("echoservers.cli._tell", lines.append)
    monkeypatch.setattr(engine, "find_spec", lambda _name: object())
    assert main(["compare", "tcp", *arguments]) == 2
    (line,) = lines
    assert said in line


def test_by_itself_it_runs_the_closed_loops_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from echoservers.cli import compare as command

    monkeypatch.setattr(engine, "find_spec", lambda _name: object())
    given = command._parser().parse(["tcp", "--quick", "--engine", "locust"])
    chosen = command._taken(command._experiments(given), command._engine(given), given)
    assert [each.name for each in chosen] == ["scaling", "churn"]


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda _name: None)
    with pytest.raises(ModeNotAvailable, match=r"pip install 'echoservers\[locust\]'"):
        engine.LocustEngine()
    monkeypatch.setattr(program, "find_spec", lambda _name: None)
    with pytest.raises(SystemExit, match=r"^echoservers: error: .*pip install 'echoservers\[locu"):
        program.main(["--headless"])


def test_it_tells_where_the_locustfile_is(capsys: pytest.CaptureFixture[str]) -> None:
    program.main(["--path"])
    path = Path(capsys.readouterr().out.strip())
    assert path.name == "locustfile.py"
    assert "EchoUser" in path.read_text()


def test_no_module_beside_it_shadows_one_that_is_imported() -> None:
    beside = {path.stem for path in program.LOCUSTFILE.parent.glob("*.py")} - {"__init__"}
    here = Path(engine.__file__).parent
    for name in beside - {"__main__", "locustfile"}:
        spec = find_spec(name)
        assert spec is None or Path(spec.origin or "").parent == here, name
        assert name not in sys.stdlib_module_names


@needs_locust
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "localhost"], "'localhost' is no endpoint; expected tcp://HOST:PORT"),
        ([], "--host: '' is no endpoint; expected tcp://HOST:PORT"),
        (["--host", TCP, "--size", "0"], "size=0: expected 1 to"),
        (["--host", "udp://127.0.0.1:8007", "--churn"], "shape='churn' is for tcp"),
        (["--host", TCP, "--size", "4", "--message", "work"], "expected more than the 4 bytes"),
    ],
)
def test_a_command_line_that_cannot_be_is_one_line(options: list[str], said: str) -> None:
    done = locust("--headless", "--loglevel", "ERROR", *options)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert said in line


# --- what is made of what it tells ----------------------------------------------------------


def told(**changes: Any) -> dict[str, Any]:
    """What a master writes, of two workers."""
    worker = {"seconds": 2.0, "cpu_seconds": 1.5, "wrong": None}
    return {
        "version": "2.47.0",
        "workers": [
            {**worker, "replies": [[0, 600], [16, 500]]},
            {**worker, "replies": [[0, 880]]},  # as of a seventeenth worker
        ],
        "requests": 2000,
        "failures": 20,
        "errors": {"no reply within 5 s": 20},
        "percentiles": {"0.5": 0, "0.9": 3, "0.99": 120, "0.999": 1200},
        "max": 1234.5,
        "exceptions": [],
        **changes,
    }


def made(plan: LoadPlan | None = None, **changes: Any) -> engine.LocustResult:
    return engine._result(plan or LoadPlan(TCP, connections=3), told(**changes), 2)


def add_times(result: engine.LocustResult) -> Sample:
    sample = Sample()
    with contextlib.suppress(ModeNotAvailable):  # what it makes of figures needs no Locust
        engine.LocustEngine().add_times(sample, result)
    return sample


def test_failures_are_no_throughput() -> None:
    result = made()
    assert result.throughput == 990.0
    assert (result.received, result.sent, result.lost) == (1980, 2000, 0)
    assert result.errors == {"no reply within 5 s": 20}
    assert result.ended is None
    assert sorted(result.by_client()) == [500, 600, 880]


def test_when_nobody_was_answered_it_says_why() -> None:
    reasons = {
        "nobody listens: the connection was refused": 8,
        "the server reset the connection": 2,
    }
    assert made(requests=10, failures=10, errors=reasons).ended == next(iter(reasons))


def test_datagrams_without_a_reply_are_lost() -> None:
    lost = {"no reply within 0.5 s: the datagram or its reply was lost": 20}
    assert made(LoadPlan("udp://127.0.0.1:8007", connections=3), errors=lost).lost == 20


@needs_locust
def test_percentiles_are_as_locust_rounds_them_and_0_is_none() -> None:
    sample = add_times(made(failures=0, errors={}))
    assert sample.figures == {"p90": 0.003, "p99": 0.12, "max": 1.2345}
    assert sample.rounded == {"p90": 0.0005, "p99": 0.005}
    assert sample.withheld == {
        "p50": "p50 is less than half a millisecond: 0 to Locust",
        "p999": "p999 needs 10,000 samples a run: there were fewer",
    }


@needs_locust
def test_a_percentile_that_failures_may_be_beyond_is_withheld() -> None:
    """Of 2,000 requests 21 are just more than one in a hundred."""
    assert "p99" in add_times(made()).figures
    sample = add_times(made(failures=21))
    assert set(sample.figures) == {"p90"}
    assert sample.withheld["p99"] == (
        "no p99: 21 of 2000 requests failed, of which Locust knows no time;"
        " it would be that of the answered ones"
    )
    assert "max" in sample.withheld


def test_what_is_rounded_alike_is_no_difference() -> None:
    """One and two milliseconds may be 1.4 and 1.6."""

    def runs(p50: float) -> list[Sample]:
        figures = {"throughput": 100.0, "p50": p50}
        return [Sample(dict(figures), rounded={"p50": 0.0005}) for _ in range(5)]

    experiment = replace(EXPERIMENTS["scaling"], values=(1,), timing=Timing(1, 0, 5))
    at = {"connections": 1, "size": 64}
    collection = Collection(experiment, ["base", "b", "c"], baseline="base", references={}, seed=1)
    for target, p50 in (("base", 0.001), ("b", 0.002), ("c", 0.004)):
        for turn, sample in enumerate(runs(p50)):
            collection.add(target, at, turn, sample)
    found = collection.result()
    assert {ratio.figure for ratio in found.ratios} == {"throughput"}
    base, b, c = (cell.figures["p50"] for cell in found.cells)
    assert (b.low, b.high) == (pytest.approx(0.0015), pytest.approx(0.0025))
    assert not beyond(base, b, "less")
    assert beyond(base, c, "less")


@needs_locust
def test_busy_workers_are_the_bottleneck() -> None:
    def no_ceiling(_plan: LoadPlan) -> None:
        pytest.fail("Locust's ceiling is not measured")

    idle = made()
    assert engine.LocustEngine().limit(idle, no_ceiling) is None
    for worker in (busy := told())["workers"]:
        worker["cpu_seconds"] = 1.9
    why = engine.LocustEngine().limit(made(workers=busy["workers"]), no_ceiling)
    assert why == "Locust's workers were busy for 95% of the time"


@needs_locust
@pytest.mark.parametrize("plan", [{"pipeline": 2}, {"shape": "open", "rate": 9.0}, {"slow": 1}])
def test_other_plans_are_refused(plan: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="closed loops of one message a client"):
        engine.LocustEngine().run(LoadPlan(TCP, **plan), None, None)


@needs_locust
def test_what_it_cannot_give_is_said() -> None:
    (warning,) = engine.LocustEngine().warnings()
    assert re.match(r"the load is made by Locust \d+\.\d+", warning)
    for what in ("rounds percentiles", "times to connect", "never answered", "ceiling"):
        assert what in warning
