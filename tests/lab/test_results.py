"""Results are saved whole, read back as they were, and never written over."""

import csv
import json
import os
from pathlib import Path

import pytest

from echoservers.lab import results as r
from echoservers.lab.files import replace_all


def some_results() -> r.Results:
    figure = r.Figure(1500.0, 1400.0, 1600.0, "messages/s", [1500.0, None, 1480.5], "more")
    cell = r.Cell(
        "tcp",
        {"connections": 4, "size": 64},
        "server",
        None,
        ["a note"],
        {"throughput": figure},
        {"lanes": [{"worker": "thread 1", "spans": [{"client": 2, "begin": 0.0, "end": 0.5}]}]},
    )
    broken = r.Cell('it, "quoted"', {"connections": 4}, error="it died; it said: ouch")
    ratio = r.Ratio("tcp", {"connections": 4}, "throughput", "tcp", 1.0, 0.9, 1.1, "no difference")
    experiment = r.Experiment(
        "scaling", "Scaling", "Who?", "The knee.", "connections", "connections", [1, 4], 3, 1.0, 0.2
    )
    experiment.cells += [cell, broken]
    experiment.ratios.append(ratio)
    return r.Results(
        created="2026-11-22T13:00:00+00:00",
        command=["compare", "tcp"],
        seed=1,
        environment={"cpus": 2},
        targets=[r.Subject("tcp", "tcp", "iterative", "tcp", ["python"], None)],
        baseline="tcp",
        experiments=[experiment],
    )


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    r.save(some_results(), tmp_path)
    assert r.load(tmp_path) == r.load(tmp_path / r.JSON) == some_results()
    assert sorted(os.listdir(tmp_path)) == [r.CSV, r.JSON]
    assert json.loads((tmp_path / r.JSON).read_text())["schema"] == 1


def test_the_table_has_every_run_in_a_row(tmp_path: Path) -> None:
    r.save(some_results(), tmp_path)
    with (tmp_path / r.CSV).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["target"], row["at"], row["round"], row["value"]) for row in rows] == [
        ("tcp", "4", "1", "1500.0"),
        ("tcp", "4", "3", "1480.5"),
        ('it, "quoted"', "4", "", ""),
    ]
    assert rows[2]["error"] == "it died; it said: ouch"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("[1]", "not written by `compare`"),
        ('{"schema": "one"}', "not written by `compare`"),
        ('{"schema": 2}', "newer echoservers, in schema 2; this one reads 1"),
        ('{"schema": 0}', "older"),
        ('{"schema": 1}', "created is missing"),
    ],
)
def test_what_is_foreign_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / r.JSON).write_text(text)
    with pytest.raises(r.ResultsError, match=said):
        r.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seed", "x", "seed should be int"),
        ("seed", True, "seed should be int"),
        ("targets", {}, "targets should be list"),
        ("baseline", 3, "baseline should be str or NoneType"),
        ("experiments", [{"name": 1}], r"experiments\[0\].name should be str"),
        ("experiments", [3], r"experiments\[0\] should be an object"),
    ],
)
def test_damage_is_located(tmp_path: Path, key: str, value: object, said: str) -> None:
    r.save(some_results(), tmp_path)
    data = json.loads((tmp_path / r.JSON).read_text())
    data[key] = value
    (tmp_path / r.JSON).write_text(json.dumps(data))
    with pytest.raises(r.ResultsError, match=said):
        r.load(tmp_path)


def test_no_results_say_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(r.ResultsError, match="there are no results"):
        r.load(tmp_path)


def test_a_folder_with_anything_in_it_is_not_used(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("precious")
    with pytest.raises(r.ResultsError, match="not empty"):
        r.make_folder(tmp_path, tmp_path / "unused")
    with pytest.raises(OSError, match="exists"):
        r.make_folder(kept, tmp_path / "unused")
    assert kept.read_text() == "precious"


def test_new_folders_are_made_beside_old_ones(tmp_path: Path) -> None:
    default = tmp_path / "results" / "2026-11-22-1301"
    made = [r.make_folder(None, default) for _ in range(3)]
    assert [folder.name for folder in made] == [
        "2026-11-22-1301",
        "2026-11-22-1301-2",
        "2026-11-22-1301-3",
    ]
    assert r.make_folder(tmp_path / "a" / "b", default) == tmp_path / "a" / "b"
    assert r.make_folder(tmp_path / "a" / "b", default) == tmp_path / "a" / "b"  # still empty


def test_a_full_disk_costs_nothing_that_was_there(tmp_path: Path) -> None:
    first = some_results()
    r.save(first, tmp_path)
    second = some_results()
    second.finished = True
    # The name of the new file leads to a device that is always full.
    (tmp_path / f"{r.JSON}.new").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device; what was saved before"):
        r.save(second, tmp_path)
    assert r.load(tmp_path) == first


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), ""),
        (OSError(5, "Input/output error"), "a part of what was saved before is replaced already"),
    ],
)
def test_whatever_ends_the_replacing_leaves_no_new_files_beside(
    error: BaseException, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {tmp_path / name: b"later" for name in ("one", "two", "three")}
    for path in files:
        path.write_bytes(b"before")
    replace = os.replace

    def fail_second(source: Path, path: Path) -> None:
        if path.name == "two":
            raise error
        replace(source, path)

    monkeypatch.setattr(os, "replace", fail_second)
    with pytest.raises(type(error)) as raised:
        replace_all(files, "it")
    assert said in str(raised.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "one": b"later", "two": b"before", "three": b"before"
    }  # fmt: skip
