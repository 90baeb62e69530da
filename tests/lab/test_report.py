"""The report: whole, well-formed, needing nothing else, and saying only what holds."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

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


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Every experiment, with few servers, on a noisy machine, not finished."""
    folder = tmp_path_factory.mktemp("report")
    return Written(folder, sample_results(servers=4, noisy=True, finished=False))


def test_page_is_well_formed(full: Written) -> None:
    assert full.reader.open == []
    assert len(full.reader.ids) == len(set(full.reader.ids))


def test_page_needs_nothing_else(full: Written) -> None:
    assert full.reader.scripts == 0
    assert "@import" not in full.page
    assert all(not found.strip().startswith(("http", "//"))
               for found in re.findall(r"url\(([^)]*)\)", full.page))  # fmt: skip
    for link in full.reader.links:
        if link.startswith("#"):
            assert link[1:] in full.reader.ids
        else:
            assert (full.folder / link).is_file()


@pytest.mark.parametrize("name", SHAPES)
def test_experiment_has_picture_table_and_sentences(full: Written, name: str) -> None:
    section = full.section(name)
    assert section.count("<svg") >= 1
    assert section.count("<svg") == section.count("<title id=") == section.count("<desc id=")
    assert section.count("<table") >= 1
    findings = re.search(r'<div class="findings">(.*?)</div>', section, re.DOTALL)
    assert findings
    assert findings[1].count("<p>") == 2


def test_page_tells_of_the_machine_and_the_run(full: Written) -> None:
    for words in ("AMD EPYC 7763", "noisy", "not finished", "server on 0", "--seed 1"):
        assert words in full.page


def test_pictures_are_files_too(full: Written) -> None:
    files = sorted((full.folder / PICTURES).iterdir())
    assert {file.suffix for file in files} == {".svg", ".png"}
    for file in files:
        if file.suffix == ".svg":
            assert ElementTree.parse(file).getroot().tag.endswith("svg")
        else:
            assert file.read_bytes().startswith(b"\x89PNG")
    assert set(files) <= set(full.files)


def test_tables_are_files_too(full: Written) -> None:
    written = {file.name for file in (full.folder / TABLES).iterdir()}
    for experiment in full.results.experiments:
        for table in tables_of(experiment):
            assert f"{table.name}.csv" in written
            with open(full.folder / TABLES / f"{table.name}.csv", newline="") as file:
                lines = list(csv.reader(file))
            assert lines == list(csv_lines(table))
            assert [line[0] for line in lines[1:]] == [name for name, _row in table.rows]
            for line, (_name, row) in zip(lines[1:], table.rows, strict=True):
                medians = [float(field) if field else None for field in line[1::4]]
                shown = [entry.figure and entry.figure.median for entry in row]
                assert medians == pytest.approx(shown, rel=1e-8)


def test_names_of_targets_are_escaped(tmp_path: Path) -> None:
    results = sample_results(("scaling", "churn", "timeline", "fairness"), servers=3)
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
