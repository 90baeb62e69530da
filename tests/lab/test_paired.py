"""What a reader sees of the ratios to the baseline: tables, files for a spreadsheet, a sentence."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from echoservers.cli.compare_tables import show_results
from echoservers.lab import results as r
from echoservers.lab.sentences import against_baseline
from echoservers.lab.stats import interval, paired_ratio, verdict
from echoservers.lab.tables import Table, csv_lines, tables_of
from echoservers.lab.units import NOTHING

NAMES = {"throughput": "more", "p99": "less"}


def made(*connections: int, **servers: float) -> r.Results:
    """Servers as many times as fast as the first, by sweeps of *connections*."""
    found = r.Experiment(
        "scaling", "Scaling", "Who?", "the knee", "connections", "connections", [*connections],
        5, 1.0, 0.2,
    )  # fmt: skip
    base = next(iter(servers))
    for at in connections:
        for target, times in servers.items():
            cell = r.Cell(target, {"connections": at}, "server")
            for name, better in NAMES.items():
                faster = times if better == "more" else 1 / times
                runs = [100 * faster * (1 + turn / 1000) for turn in (0, 2, 1, 4, 3)]
                cell.figures[name] = r.Figure(*interval(runs), "messages/s", [*runs], better)
            found.cells.append(cell)
    for cell in found.cells:
        other = next(c for c in found.cells if c.parameters == cell.parameters)
        for name, better in NAMES.items() if cell.target != base else ():
            jitter = [1, 1.01, 0.99, 1.02, 0.98]
            ours, theirs = (c.figures[name].runs for c in (cell, other))
            ours = [(run or 0) * by for run, by in zip(ours, jitter, strict=True)]
            ratio = paired_ratio(ours, theirs)  # type: ignore[arg-type]
            says = verdict(ratio, better)
            found.ratios.append(r.Ratio(cell.target, cell.parameters, name, base, *ratio, says))
    subjects = [r.Subject(name, "tcp", "iterative", name) for name in servers]
    return r.Results(
        created="2026-11-22T13:00:00+00:00", command=["compare", *servers], seed=1,
        environment={"pinning": {"server": [0], "generator": [1]}}, targets=subjects,
        baseline=base, experiments=[found], finished=True,
    )  # fmt: skip


THREE = {"base": 1.0, "fast": 1.5, "alike": 1.0}


def shown(results: r.Results) -> dict[str, Table]:
    return {table.name: table for table in tables_of(results.experiments[0])}


def test_a_sweep_has_a_table_of_ratios_behind_each_figure() -> None:
    tables = shown(made(1, 16, **THREE))
    assert list(tables) == [
        "scaling-throughput", "scaling-throughput-ratio", "scaling-p99", "scaling-p99-ratio"
    ]  # fmt: skip
    table = tables["scaling-throughput-ratio"]
    assert table.title == "Throughput: times that of base, in pairs"
    assert table.heads == ("1", "16")
    assert table.main
    assert [name for name, _row in table.rows] == ["fast", "alike"]
    (_, fast), (_, alike) = table.rows
    assert (fast[0].text, fast[0].note) == ("1.50", "faster")
    assert fast[0].interval.startswith("1.4")
    assert (alike[0].mark, alike[0].text) == ("no difference", "")
    assert alike[0].interval
    assert "holds 1" in table.marks()["no difference"]
    (_, fast), _ = tables["scaling-p99-ratio"].rows
    assert (fast[0].text, fast[0].note) == ("0.667", "faster")


def test_where_nothing_is_swept_the_figures_are_the_columns() -> None:
    tables = shown(made(16, **THREE))
    assert list(tables) == ["scaling-figures", "scaling-ratios"]
    table = tables["scaling-ratios"]
    assert table.title == "Scaling: times those of base, in pairs"
    assert table.heads == ("Throughput", "99 % within")
    lines = list(csv_lines(table))
    assert lines[0][:5] == ["server", *(f"Throughput {part}" for part in ("median", "low", "high")),
                            "Throughput remark"]  # fmt: skip
    assert [line[4] for line in lines[1:]] == ["faster", "no difference"]
    assert float(lines[1][1]) == pytest.approx(1.5)


def test_what_has_no_ratio_says_why() -> None:
    names = ("base", "fast", "broken", "held", "short")
    results = made(1, 16, **dict.fromkeys(names, 1.5))
    (experiment,) = results.experiments
    by_place = {(c.target, c.parameters["connections"]): c for c in experiment.cells}
    by_place["broken", 1].error = "it died"
    by_place["held", 1].limited_by = "generator"
    del by_place["short", 1].figures["throughput"]
    by_place["base", 16].limited_by = "memory"
    experiment.ratios = [
        ratio for ratio in experiment.ratios
        if (ratio.target, ratio.parameters["connections"]) == ("fast", 1)
    ]  # fmt: skip
    table = shown(results)["scaling-throughput-ratio"]
    assert table.heads == ("1",)  # there is nothing to be held against at the other
    assert [(name, entry.note) for name, (entry,) in table.rows if entry.text == NOTHING] == [
        ("broken", "failed"), ("held", "limited by generator"), ("short", "not measured")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("runs", "why"), [(1, "one run"), (5, "the generator limited runs of both")]
)
def test_without_an_interval_there_is_no_verdict(runs: int, why: str) -> None:
    results = made(16, **THREE)
    (experiment,) = results.experiments
    for ratio in experiment.ratios:
        ratio.low = ratio.high = None
        ratio.verdict = "no difference"
    for cell in experiment.cells:
        for figure in cell.figures.values():
            del figure.runs[runs:]
    entry = shown(results)["scaling-ratios"].rows[0][1][0]
    assert (entry.text, entry.mark, entry.note) == ("1.50", "", f"{why}: no interval")
    assert against_baseline(experiment) is None


def test_results_of_an_earlier_time_without_ratios_are_shown() -> None:
    results = made(1, 16, **THREE)
    results.experiments[0].ratios = []
    assert list(shown(results)) == ["scaling-throughput", "scaling-p99"]
    assert against_baseline(results.experiments[0]) is None


HELD = "With 16 connections, held against base in the same rounds,"
FAST, SLOW = "1.50 times as high (1.47 to 1.53)", "0.500 times as high (0.490 to 0.510)"


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        (THREE, f"the throughput is {FAST} for fast; no difference is seen for alike."),
        (
            {"base": 1.0, "fast": 1.5, "slow": 0.5},
            f"the throughput is {SLOW} for slow and {FAST} for fast.",
        ),
        (
            {"base": 1.0, "a": 1.5, "b": 0.5, "c": 1.4},
            f"the throughput of 3 servers differs: from {SLOW} for b to {FAST} for a.",
        ),
        ({"base": 1.0, "alike": 1.0}, "no difference in throughput is seen for alike."),
    ],
)
def test_a_sentence_says_how_far_the_others_are_from_the_baseline(
    servers: dict[str, float], said: str
) -> None:
    found = against_baseline(made(1, 16, **servers).experiments[0])
    assert found
    assert found.text == f"{HELD} {said}"


def test_the_terminal_shows_them_and_so_does_a_replay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    r.save(made(1, 16, **THREE), tmp_path)
    show_results(r.load(tmp_path))
    out = capsys.readouterr().out
    assert "Throughput: times that of base, in pairs" in out
    assert "faster" in out
    assert "no difference  the 95 % interval of the ratio holds 1" in out


def test_every_run_has_its_ratio_in_the_spreadsheet(tmp_path: Path) -> None:
    results = made(1, **THREE)
    (experiment,) = results.experiments
    experiment.cells[0].figures["throughput"].runs[1] = None
    experiment.ratios = [x for x in experiment.ratios if x.figure == "throughput"]
    r.save(results, tmp_path)
    with (tmp_path / r.CSV).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["round"] in ("1", "2")]
    assert list(rows[0])[-1] == "over_baseline"
    found = {(row["target"], row["figure"], row["round"]): row["over_baseline"] for row in rows}
    assert float(found["fast", "throughput", "1"]) == pytest.approx(1.5)
    assert found["fast", "throughput", "2"] == ""  # there is no pair
    assert found["fast", "p99", "1"] == ""  # of what has no ratio
    assert found["base", "throughput", "1"] == ""


def test_panels_have_their_own() -> None:
    results = made(1, 16, **THREE)
    (experiment,) = results.experiments
    experiment.panel = "size"
    doubled = [*experiment.cells]
    for each in (*experiment.cells, *experiment.ratios):
        each.parameters = {**each.parameters, "size": 64}
    doubled = [
        replace(cell, parameters={**cell.parameters, "size": 1400}) for cell in experiment.cells
    ]
    experiment.cells += doubled
    tables = shown(results)
    assert "scaling-size-64-throughput-ratio" in tables
    assert "scaling-size-1400-throughput-ratio" not in tables  # as there are none
    assert tables["scaling-size-64-throughput-ratio"].title == (
        "Throughput: times that of base, in pairs: size 64 B"
    )
