"""Experiments of the user's own."""

import textwrap
from pathlib import Path

import pytest

from echoservers.errors import OptionError
from echoservers.lab.custom import read_experiment
from echoservers.lab.experiments import Experiment
from echoservers.lab.planning import Study, check_options
from echoservers.targets import Target
from lab_support import run
from support import ROOT

PAGE = (ROOT / "docs" / "results.rst").read_text()
EXAMPLE = textwrap.dedent(PAGE.partition("code-block:: toml\n")[2].partition("\nA load can")[0])


def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    path = tmp_path / "pipelining.toml"
    path.write_text(
        EXAMPLE.replace("duration = 1.0", "duration = 0.1").replace("repeats = 5", "repeats = 1")
    )
    experiment = read_experiment(path)
    assert experiment.name == "pipelining"
    assert experiment.timing.warmup == 0.3
    results, _ = run([Target.of_mode("epoll-tcp")], experiment.set("pipeline", ["1", "8"]))
    cells = results.experiments[0].cells
    assert [cell.parameters["pipeline"] for cell in cells] == [1, 8]
    assert all(cell.figures["throughput"].median > 0 for cell in cells)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "pipelining"', 'name = "scaling"', "name of one of ours"),
        ('name = "pipelining"', "", "name is missing"),
        ("question =", "questoin =", "did you mean question"),
        ("[load]", "[laod]", "did you mean load"),
        ("connections = 8", "conections = 8", "did you mean connections"),
        ("connections = 8", "connections = 0", "connections=0: expected 1"),
        ('shape = "closed"', 'shape = "square"', "expected closed, open, churn, datagram"),
        ("values = [1, 4, 16]", "values = []", "list of values"),
        ("values = [1, 4, 16]", "values = [1, 5000]", "pipeline=5000: expected 1 to 1024"),
        ('parameter = "pipeline"', 'parameter = "colour"', "known are shape"),
        ("duration = 1.0", "duration = -1", "expected a number from 0.05 to 3600"),
        ("duration = 1.0", "duration = 0", "expected a number from 0.05 to 3600"),
        ("duration = 1.0", "duration = inf", "expected a number from 0.05 to 3600"),
        ("duration = 1.0", "duration = nan", "expected a number from 0.05 to 3600"),
        ("duration = 1.0", 'duration = "1"', "expected a number from 0.05 to 3600"),
        ("warmup = 0.3", "warmup = inf", "expected a number from 0 to 3600"),
        ("repeats = 5", "repeats = 1.5", "expected a whole number from 1 to 1000"),
        ("repeats = 5", "repeats = true", "expected a whole number from 1 to 1000"),
        ("[load]", "load = 3\n[other]", "load should be a table|has 'other'"),
        ('title = "', "title = ", "is not TOML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in EXAMPLE
    path = tmp_path / "own.toml"
    path.write_text(EXAMPLE.replace(old, new, 1))
    with pytest.raises(OptionError, match=said) as raised:
        read_experiment(path)
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="No such file"):
        read_experiment(tmp_path / "none.toml")


def with_server(folder: Path, option: str) -> Experiment:
    path = folder / "own.toml"
    path.write_text(EXAMPLE.partition("[server]")[0] + f"[server]\n{option} = 3\n")
    return read_experiment(path)


def test_an_option_that_no_target_has_is_no_option(tmp_path: Path) -> None:
    pool, other = Target.of_mode("thread-pool-tcp"), Target.of_mode("tcp")
    with pytest.raises(OptionError, match=r"no target has the option 'max_wrokers'.*max_workers"):
        run([pool, other], with_server(tmp_path, "max_wrokers"))
    with pytest.raises(OptionError, match="no target has the option 'max_workers'"):
        run([other], with_server(tmp_path, "max_workers"))
    check_options(Study([pool, other], [with_server(tmp_path, "max_workers")]))
