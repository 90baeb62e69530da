"""Results with holes: what failed, what was never measured, what has no interval or no unit."""

import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoservers.cli.compare_tables import show_results
from echoservers.errors import OptionError
from echoservers.lab import environment, meter, report
from echoservers.lab.against import compare_runs
from echoservers.lab.caveats import about_experiment, about_run
from echoservers.lab.claims import _shown
from echoservers.lab.custom import read_experiment
from echoservers.lab.experiments import EXPERIMENTS
from echoservers.lab.plots import pictures_of
from echoservers.lab.results import Figure, Results, Subject
from echoservers.lab.sentences import sentences_of
from echoservers.lab.stats import interval
from echoservers.lab.tables import tables_of
from echoservers.lab.units import value_text
from echoservers.lab.view import panels, text_of
from lab_sample import SHAPES, sample_results


def hollow(name: str, servers: int = 4) -> Results:
    """Results of one experiment of which nothing came."""
    results = sample_results((name,), servers=servers)
    for cell in results.experiments[0].cells:
        cell.figures, cell.series, cell.error = {}, {}, None
    return results


@pytest.fixture(autouse=True, scope="module")
def matplotlib_has_its_fonts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """They stay open, from the first picture on."""
    results = sample_results(("churn",), servers=2)
    assert list(pictures_of(results, results.experiments[0]))


# --- a report of them -------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_of_what_gave_no_figure_nothing_is_drawn_or_claimed(name: str) -> None:
    results = hollow(name)
    (experiment,) = results.experiments
    assert list(pictures_of(results, experiment)) == []
    for sentence in sentences_of(experiment):
        assert "compared" in sentence.text or "better" in sentence.text
    for table in tables_of(experiment):
        for _name, row in table.rows:
            assert not any(entry.figure for entry in row)


def test_a_table_has_no_column_for_what_the_others_are_held_against() -> None:
    results = sample_results(("gil",), servers=3)
    (experiment,) = results.experiments
    heads = {table.name: table.heads for table in tables_of(experiment)}
    assert heads["gil-throughput"] == ("0", "1", "2")
    assert heads["gil-kept-share"] == ("1", "2")
    for cell in experiment.cells:
        if cell.parameters["cpu_clients"] == 2:
            del cell.figures["kept_share"]
    heads = {table.name: table.heads for table in tables_of(experiment)}
    assert heads["gil-kept-share"] == ("1", "2"), "that it could not be told is to be seen"
    for cell in experiment.cells:
        if cell.parameters["cpu_clients"] == 0:
            cell.error, cell.figures = "it ended", {}
    heads = {table.name: table.heads for table in tables_of(experiment)}
    assert heads["gil-kept-share"] == ("0", "1", "2"), "what failed is to be seen"


def test_why_a_server_took_no_part_stands_in_the_table() -> None:
    results = sample_results(("gil",), servers=3)
    (experiment,) = results.experiments
    out = "threading-tcp"
    experiment.ratios = [ratio for ratio in experiment.ratios if ratio.target != out]
    for cell in experiment.cells:
        if cell.target == out:
            cell.figures, cell.error = {}, None
            cell.notes[:] = ["left out: it does not do the work; a handler says what it is"]
    for table in tables_of(experiment):
        row = dict(table.rows)[out]
        assert {entry.note for entry in row} == {"left out: it does not do the work"}


def test_what_failed_is_left_out_of_a_picture_of_the_others() -> None:
    results = sample_results(("fairness",), servers=2)
    (experiment,) = results.experiments
    failed = experiment.cells[0].target
    for cell in experiment.cells:
        if cell.target == failed:
            cell.error = "it ended"
    drawn = list(pictures_of(results, experiment))
    assert drawn
    assert any(failed in caveat for caveat in about_experiment(results, experiment))


def test_a_workers_picture_without_workers_is_one_of_figures() -> None:
    results = sample_results(("fairness",), servers=3)
    (experiment,) = results.experiments
    for cell in experiment.cells:
        cell.series = {}
    names = [picture.name for picture in pictures_of(results, experiment)]
    assert names
    assert not any(name.startswith("workers") for name in names)


def test_a_figure_of_one_run_is_told_without_an_interval() -> None:
    assert (
        _shown("throughput", Figure(1200.0, None, None, "messages/s", [1200.0]))
        == "1,200 messages/s"
    )


def test_a_parameter_that_follows_from_the_target_splits_nothing() -> None:
    results = sample_results(("churn",), servers=3)
    (experiment,) = results.experiments
    for cell in experiment.cells:
        cell.parameters["rate"] = len(cell.target)  # a share of its own peak
    assert len(panels(experiment)) == 1
    twin = replace(experiment.cells[0], parameters={**experiment.cells[0].parameters, "rate": 0})
    experiment.cells.append(twin)
    assert len(panels(experiment)) > 1


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (True, "", "yes"),
        (False, "", "no"),
        ("as it is", "", "as it is"),
        (65536, "bytes", "64 KiB"),
        (0.25, "share of peak", "25 %"),
        (0.0015, "s", "1.50 ms"),
        (12345, "", "12,345"),
        (1.5, "", "1.5"),
    ],
)
def test_swept_values_for_people(value: Any, unit: str, said: str) -> None:
    assert value_text(value, unit) == said


def test_values_of_parameters_for_people() -> None:
    assert text_of("size", [64, 1024]) == "64 B, 1 KiB"
    assert text_of("anything", None) == "none"


def test_an_interval_of_very_many_runs_is_narrow() -> None:
    rng = np.random.default_rng(1)
    found = interval(list(rng.normal(100, 1, 200)))
    assert found.low is not None
    assert found.high is not None
    assert 99 < found.low < found.median < found.high < 101


# --- remarks ----------------------------------------------------------------------------


def test_what_applies_to_a_run() -> None:
    results = sample_results(("churn",), servers=3)
    results.environment["pinning"] = None
    results.environment["warnings"] = []
    results.environment["noise"] = {"noisy": True, "spread": 0.4}
    said = " ".join(about_run(results))
    assert "not kept on processors of their own" in said
    assert "the same work varied by 40%" in said


def test_where_one_slow_client_takes_the_only_worker_the_reader_is_told() -> None:
    results = sample_results(("slow-client",), servers=1)
    results.environment["pinning"] = {"server": [0], "generator": [1]}
    (experiment,) = results.experiments
    asked, default = (
        replace(results.targets[0], model="prefork", mode=mode)
        for mode in ("prefork-tcp:workers=8", "prefork-tcp")
    )
    results.targets[0] = default
    assert any("a processor, here 1," in said for said in about_experiment(results, experiment))
    results.targets[0] = asked
    assert not any("a processor, here" in said for said in about_experiment(results, experiment))


def test_what_applies_to_an_experiment() -> None:
    results = sample_results(("churn",), servers=3, repeats=3)
    (experiment,) = results.experiments
    first, second, *_ = experiment.cells
    first.limited_by = "generator"
    second.limited_by = "memory"
    first.notes += [f"remark {letter}" for letter in "abcdefghi"]
    results.targets[1] = replace(results.targets[1], transport="udp")
    experiment.cells.append(replace(first, target="echo in C", notes=[]))
    said = " ".join(about_experiment(results, experiment))
    for words in (
        f"Generator-limited, in 2 measurements: {first.target}",
        "Limited by memory, and so not ranked",
        "There were 3 runs of each",
        "Different transports stand side by side",
        "Datagrams may be lost",
        "Programs that are not ours (echo in C)",
        "stand in results.json",
    ):
        assert words in said, words


@pytest.mark.parametrize(
    ("modes", "said"),
    [
        (("tcp", "epoll-tcp"), None),
        (("tcp:request-queue-size=5", "epoll-tcp:request_queue_size=5"), None),
        (
            ("tcp:request_queue_size=5", "epoll-tcp", "prefork-tcp:workers=4,request-queue-size=9"),
            "request_queue_size is 5 for server 0 and 9 for server 2; workers is 4 for server 2",
        ),
    ],
)
def test_where_the_options_of_our_servers_differ_it_is_said(
    modes: tuple[str, ...], said: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    results = sample_results(("churn",), servers=1)
    results.targets = [
        *(Subject(f"server {n}", "tcp", "x", mode) for n, mode in enumerate(modes)),
        Subject("not ours", "tcp", None, None, ["node", "server.js", "request_queue_size=7"]),
    ]
    show_results(results)
    shown = " ".join(capsys.readouterr().out.split())
    if said is None:
        assert not any("Options" in caveat for caveat in about_run(results))
        assert "Options differ" not in shown
    else:
        said = f"Options differ: {said}. Others of ours that have them have the default."
        assert said in about_run(results)
        assert said in shown


# --- two runs ---------------------------------------------------------------------------


def test_what_failed_in_one_of_two_runs_is_said() -> None:
    before, after = (sample_results(("churn",), servers=4) for _ in range(2))
    a, b = before.experiments[0].cells, after.experiments[0].cells
    a[0].error = b[1].error = a[2].error = b[2].error = "it ended"
    name = "connections_per_second"
    a[3].figures[name].median = 0.0
    (table,), _warnings = compare_runs(before, after)
    notes = [row[0].note for _name, row in table.rows]
    assert notes[:3] == ["failed before", "fails now", "both failed"]
    column = table.heads.index("Connections a second")
    assert table.rows[3][1][column].note == "no ratio of zero"


def test_what_differs_between_two_machines_is_said() -> None:
    before = sample_results(("churn",), servers=3)
    after = sample_results(("churn", "size"), servers=3, finished=False)
    after.environment["limits"] = {"nofile": [1024, 1024], "somaxconn": 4096}
    before.environment["pinning"] = {}
    said = " ".join(compare_runs(before, after).warnings)
    assert "The limits differs: " in said
    assert "nofile 1,024, 1,024, somaxconn 4,096 now" in said
    assert "The pinning differs: none before, server 0, generator 1 now" in said
    assert "The later run was not finished." in said
    assert "size was not measured before." in said


def test_experiments_without_a_common_cell_make_no_table() -> None:
    before, after = (sample_results(("churn",), servers=3) for _ in range(2))
    for cell in after.experiments[0].cells:
        cell.target += " (patched)"
    assert compare_runs(before, after).tables == []
    before, after = hollow("churn"), hollow("churn")
    assert compare_runs(before, after).tables == []


# --- how it was measured ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        (Subject("a", "tcp", "threads", "threading-tcp", None), "--mode threading-tcp"),
        (Subject("b", "tcp", None, None, ["socat", "a b"]), "socat 'a b'"),
        (Subject("c", "tcp", None, None, None, endpoint="tcp://h:7"), "tcp://h:7"),
    ],
)
def test_how_a_target_was_started(subject: Subject, said: str) -> None:
    assert report._how(subject) == said


def test_a_machine_of_which_little_is_known() -> None:
    told = dict(report._machine({"cpu": "6502", "usable_cpus": 1, "cpus": 1}))
    assert told == {
        "Processor": "6502",
        "Processors": "1 usable of 1",
        "Pinning": "none: servers and generator share the processors",
    }


def test_the_command_of_a_report_is_whole() -> None:
    assert report._command(["tcp", "--quick"]) == "python -m echoservers compare tcp --quick"
    assert report._command(["compare", "tcp"]) == "python -m echoservers compare tcp"


def test_settings_of_what_takes_no_time() -> None:
    (experiment,) = hollow("churn").experiments
    experiment.duration = 0
    assert "warm-up" not in report._settings(experiment)
    experiment.duration = 2
    assert "2 s a run after" in report._settings(experiment)


def test_the_state_of_a_machine_is_warned_of() -> None:
    found = {
        "noise": {"noisy": True, "spread": 0.5},
        "load_before": [100.0],
        "usable_cpus": 2,
        "pinning": None,
        "governor": "powersave",
    }
    said = " ".join(environment._warnings(found))
    for words in ("varied by 50%", "load average was 100.00", "share one processor", "powersave"):
        assert words in said
    found = {**found, "noise": {"noisy": False}, "load_before": [0.0], "governor": "performance"}
    found["pinning"] = {"server": [0, 1], "generator": [2]}
    assert list(environment._warnings(found)) == []


def test_a_system_that_says_little_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_read", lambda _path: None)

    def nothing() -> dict[str, str]:
        raise OSError

    monkeypatch.setattr(platform, "freedesktop_os_release", nothing)
    assert environment._system() == platform.platform()
    assert environment._cpu() == (platform.processor() or platform.machine())
    assert {name for name, _ in environment._limits()} == {"nofile", "nproc"}


def test_without_a_watch_only_the_machine_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    unwatched = meter.Meter(None)
    assert unwatched.usage() is None
    for phase in ("measuring", "measured", "finished"):
        unwatched.phase(phase)
    usage = unwatched.usage()
    assert usage is not None
    assert (usage.server_cpu, usage.switches) == (None, None)
    assert unwatched.standing is None

    def missing(_path: str) -> object:
        raise FileNotFoundError(2, os.strerror(2))

    monkeypatch.setattr(meter, "open", missing, raising=False)
    assert meter._machine_cpu() == 0.0


# --- what is asked for ------------------------------------------------------------------


def test_values_below_zero_are_refused() -> None:
    with pytest.raises(OptionError, match="connections=-1: expected no less than 0"):
        EXPERIMENTS["scaling"].set("connections", ["-1"])


OWN = """
name = "own"
question = "How?"
[load]
shape = "churn"
message = "work 3 "
[sweep]
parameter = "size"
values = [64]
"""


def test_an_experiment_of_short_connections_is_for_streams(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    experiment = read_experiment(path)
    assert "udp" not in experiment.transports
    assert "tcp" in experiment.transports


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('run = 3\nserver = "x"\n' + OWN)
    with pytest.raises(OptionError, match=r"(run|server) should be a table: \[(run|server)\]"):
        read_experiment(path)
