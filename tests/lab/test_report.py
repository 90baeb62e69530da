"""The report: whole, well-formed, needing nothing else, and saying only what holds."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from echoservers.lab.bench import NOT_ALL
from echoservers.lab.report import PICTURES, TABLES, write_report
from echoservers.lab.results import Results, load, save
from echoservers.lab.sentences import sentences_of
from echoservers.lab.tables import csv_lines, tables_of
from lab_sample import SHAPES, sample_results

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Reader(HTMLParser):
    """Holds every end tag against its start tag, and collects what the tests ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [given[name] or "" for name in ("href", "src", "xlink:href") if name in given]
        self.scripts += tag == "script" or any(name.startswith("on") for name in given)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> ends nothing"
        assert self.open.pop() == tag


class Written:
    """A report in a folder."""

    def __init__(self, folder: Path, results: Results) -> None:
        self.folder, self.results = folder, results
        save(results, folder)
        self.files = write_report(load(folder), folder)
        self.page = (folder / "report.html").read_text()
        self.reader = Reader()
        self.reader.feed(self.page)

    def section(self, name: str) -> str:
        found = re.search(rf'<section id="{name}".*?</section>', self.page, re.DOTALL)
        assert found, f"no section {name}"
        return found[0]


@pytest.fixture(autouse=True, scope="module")
def matplotlib_has_its_fonts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It keeps the files of its fonts open, plain and bold, once it has drawn with them."""
    folder = tmp_path_factory.mktemp("fonts")
    Written(folder, sample_results(("timeline",), servers=1))


@pytest.mark.parametrize("name", SHAPES)
def test_report_of_an_experiment(tmp_path: Path, name: str) -> None:
    """Each by itself, so that the work is shared among the workers that run the tests."""
    written = Written(tmp_path, sample_results((name,), servers=3, noisy=True, finished=False))
    assert written.reader.open == []
    assert len(written.reader.ids) == len(set(written.reader.ids))
    for words in ("AMD EPYC 7763", "noisy", "not finished", "server on 0", "--seed 1"):
        assert words in written.page
    _needs_nothing_else(written)
    _has_picture_table_and_sentences(written.section(name))
    _pictures_are_files(written)
    _tables_are_files(written)


def test_the_baseline_is_named_and_the_others_are_held_against_it(tmp_path: Path) -> None:
    results = sample_results(("scaling",), servers=3)
    page = Written(tmp_path, results).page
    assert "iterative (the baseline)" in page
    assert "held against tcp in the same rounds, the throughput" in page
    assert "Throughput: times that of tcp, in pairs" in page
    assert (tmp_path / TABLES / "scaling-throughput-ratio.csv").is_file()


def _needs_nothing_else(written: Written) -> None:
    assert written.reader.scripts == 0
    assert "@import" not in written.page
    for found in re.findall(r"url\(([^)]*)\)", written.page):
        assert found.startswith("#")
        assert found[1:] in written.reader.ids
    for link in written.reader.links:
        if link.startswith("#"):
            assert link[1:] in written.reader.ids
        else:
            assert (written.folder / link).is_file()


def _has_picture_table_and_sentences(section: str) -> None:
    assert section.count("<svg") >= 1
    assert section.count("<svg") == section.count("<title id=") == section.count("<desc id=")
    assert section.count("<table") >= 1
    findings = re.search(r'<div class="findings">(.*?)</div>', section, re.DOTALL)
    assert findings
    assert findings[1].count("<p>") == 2


def _pictures_are_files(written: Written) -> None:
    files = sorted((written.folder / PICTURES).iterdir())
    both = {suffix: {f.stem for f in files if f.suffix == suffix} for suffix in (".svg", ".png")}
    assert both[".svg"] == both[".png"]
    assert sum(map(len, both.values())) == len(files)
    for file in files:
        if file.suffix == ".svg":
            assert ElementTree.parse(file).getroot().tag.endswith("svg")
        else:
            assert file.read_bytes().startswith(b"\x89PNG")
    assert set(files) <= set(written.files)


def _tables_are_files(written: Written) -> None:
    (experiment,) = written.results.experiments
    tables = tables_of(experiment)
    assert {f"{table.name}.csv" for table in tables} == {
        file.name for file in (written.folder / TABLES).iterdir()
    }
    for table in tables:
        with open(written.folder / TABLES / f"{table.name}.csv", newline="") as file:
            lines = list(csv.reader(file))
        assert lines == list(csv_lines(table))
        assert [line[0] for line in lines[1:]] == [name for name, _row in table.rows]
        for line, (_name, row) in zip(lines[1:], table.rows, strict=True):
            for field, entry in zip(line[1::4], row, strict=True):
                assert (field == "") == (entry.figure is None)
                if entry.figure is not None:
                    assert float(field) == pytest.approx(entry.figure.median, rel=1e-8)


def test_names_of_targets_are_escaped(tmp_path: Path) -> None:
    results = sample_results(("scaling", "churn", "timeline", "fairness"), servers=2)
    evil = "=cmd|' /C calc'!A0<script>alert(1)</script>$x_1$\x1b[31m"
    for thing in [*results.experiments[0].cells, *results.experiments[1].cells,
                  *results.experiments[2].cells, *results.experiments[3].cells]:  # fmt: skip
        thing.target = evil if thing.target == "threading-tcp" else thing.target
        thing.notes.append("<b>note</b>")
    results.targets[1].name = evil
    results.targets[1].command = ["<i>", "{port}"]
    written = Written(tmp_path, results)
    assert written.reader.open == []
    assert written.reader.scripts == 0
    for markup in ("<script", "<b>note", "<i>", "\x1b"):
        assert markup not in written.page
    for file in (tmp_path / TABLES).iterdir():
        with open(file, newline="") as opened:
            fields = [field for line in csv.reader(opened) for field in line]
        assert not [f for f in fields if f.startswith(("=", "+", "@")) or f[:2] == "-c"]
    for file in (tmp_path / PICTURES).glob("*.svg"):
        ElementTree.parse(file)
    inside = {file.resolve().parent for file in written.files}
    assert inside <= {tmp_path, tmp_path / PICTURES, tmp_path / TABLES}


def test_an_experiment_of_ones_own(tmp_path: Path) -> None:
    """Neither its name, its parameter nor its figure is known here."""
    results = sample_results(("size",), servers=3)
    (experiment,) = results.experiments
    experiment.name, experiment.parameter, experiment.unit = "My own", "moons", "moons"
    for cell in experiment.cells:
        cell.parameters = {"moons": cell.parameters["size"]}
        cell.figures = {"cheese": cell.figures["throughput"]}
    written = Written(tmp_path, results)
    assert "Cheese" in written.section("my-own")
    assert written.section("my-own").count("<svg") == 1


def test_nothing_but_failures(tmp_path: Path) -> None:
    results = sample_results(("scaling", "timeline"), servers=2)
    for experiment in results.experiments:
        for cell in experiment.cells:
            cell.error, cell.figures, cell.series = "it did not start", {}, {}
    written = Written(tmp_path, results)
    assert "it did not start" in written.section("scaling")
    assert len(sentences_of(results.experiments[0])) == 2


def test_one_run_ranks_nobody(tmp_path: Path) -> None:
    results = sample_results(("churn",), repeats=1, servers=4)
    assert "★" not in Written(tmp_path, results).section("churn")


def test_why_a_figure_is_missing_is_short_in_the_table_and_whole_above_it(tmp_path: Path) -> None:
    results = sample_results(("churn",), servers=3)
    cell = results.experiments[0].cells[0]
    del cell.figures["p99"]
    cell.notes.append(NOT_ALL)
    section = Written(tmp_path, results).section("churn")
    short, _, explained = NOT_ALL.partition("; ")
    assert f">{short}</small>" in section
    assert section.count(explained) == 1


def test_rendering_again_replaces_the_page(tmp_path: Path) -> None:
    results = sample_results(("churn",), servers=3)
    first = Written(tmp_path, results).page
    assert Written(tmp_path, results).page == first


def test_an_earlier_run_is_held_against(tmp_path: Path) -> None:
    before = sample_results(("churn",), servers=3, seed=1)
    after = sample_results(("churn",), servers=3, seed=2)
    after.environment["kernel"] = "Linux 6.9"
    write_report(after, tmp_path, before)
    page = (tmp_path / "report.html").read_text()
    assert "The kernel differs" in page
    assert (tmp_path / TABLES / "against-churn.csv").is_file()
