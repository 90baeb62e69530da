"""What `check` saves: JSON, JUnit XML, points, tables; and that files are whole or untouched."""

import csv
import io
import json
import os
import stat
from pathlib import Path
from xml.etree import ElementTree

import pytest

from check_samples import result, run
from echoservers.conformance.engine import CHECKS, Outcome
from echoservers.conformance.job import Job, result_from, result_to
from echoservers.conformance.junit import as_junit
from echoservers.conformance.results import many_as_json, one_as_json
from echoservers.conformance.rubric import read_rubric
from echoservers.conformance.saving import check_writable, save
from echoservers.conformance.tables import as_csv, as_html, check_table
from echoservers.errors import OptionError
from echoservers.targets import Level, Limits, Target

ECHO = result("bytes.echo")
WRONG = result(
    "bytes.every-value", Outcome.FAIL, "at byte 1: 01 02 |..|", "<b>\x1b[31m\x00\ud800</b>"
)
SKIPPED = result("bytes.nul", Outcome.SKIP, got="not here")
LOST = run(name="=1+1", error="it did not listen", more=("bytes.echo", "bytes.nul"))


# JSON


def test_one_target_has_the_keys_that_programs_rely_on() -> None:
    fields = json.loads(one_as_json(run(ECHO, WRONG, SKIPPED)))
    assert list(fields) == ["target", "design", "checks"]
    assert fields["target"] == "a server"
    assert [check["outcome"] for check in fields["checks"]] == ["pass", "fail", "skip"]
    assert list(fields["checks"][1]) == [
        "id",
        "requirement",
        "source",
        "outcome",
        "expected",
        "got",
        "seconds",
    ]
    assert fields["checks"][1]["expected"] == "at byte 1: 01 02 |..|"


def test_many_targets_also_have_their_level_error_and_points() -> None:
    fields = json.loads(many_as_json([run(ECHO), LOST], [None, None]))
    assert list(fields) == ["targets"]
    assert [target["error"] for target in fields["targets"]] == [None, "it did not listen"]
    assert list(fields["targets"][0]) == ["target", "design", "checks", "level", "error", "points"]
    assert fields["targets"][0]["level"] == "concurrent"


def test_jobs_and_results_survive_the_pipe() -> None:
    target = Target.of_command("./a {file} {port}")._replace(fields=(("{file}", "x"),))
    job = Job(target, Level.POOL, ("bytes.echo",), limits=Limits(), build=("make",))
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job
    assert result_from(json.loads(json.dumps(result_to(WRONG)))) == WRONG


# JUnit XML


def test_junit_counts_and_tells_failures_errors_and_skips() -> None:
    root = ElementTree.fromstring(as_junit([run(ECHO, WRONG, SKIPPED), LOST]))
    first, second = root
    counted = ("tests", "failures", "errors", "skipped")
    assert [first.get(name) for name in counted] == ["3", "1", "0", "1"]
    assert [second.get(name) for name in counted] == ["1", "0", "1", "0"]
    failure = first.find("testcase/failure")
    assert failure is not None
    assert failure.text is not None
    assert "expected: at byte 1" in failure.text
    error = second.find("testcase/error")
    assert error is not None
    assert error.get("message") == "it did not listen"


def test_junit_holds_no_character_that_xml_does_not() -> None:
    text = as_junit([run(WRONG)])
    text.encode()
    assert r"\x1b[31m\x00\ud800" in text


def test_junit_has_what_the_schemas_of_servers_require() -> None:
    for suite in ElementTree.fromstring(as_junit([run(ECHO, WRONG), LOST])):
        tags = [child.tag for child in suite]
        assert tags[0] == "properties"
        assert tags[-2:] == ["system-out", "system-err"]
        assert set(tags[1:-2]) == {"testcase"}
        required = {"name", "timestamp", "hostname", "tests", "failures", "errors", "time"}
        assert required | {"package", "id"} <= set(suite.attrib)
        for case in suite.iter("testcase"):
            assert {"name", "classname", "time"} <= set(case.attrib)


# Points


def rubric(folder: Path, text: str) -> str:
    path = folder / "rubric.toml"
    path.write_text(text)
    return str(path)


def test_a_group_shares_its_points_among_its_checks(folder: Path) -> None:
    read = read_rubric(rubric(folder, "[groups]\nbytes = 3"))
    score = read.score(run(ECHO, WRONG, SKIPPED))
    assert (score.total, score.of) == (1.5, 3)


def test_a_check_with_points_of_its_own_leaves_the_share(folder: Path) -> None:
    read = read_rubric(rubric(folder, '[checks]\n"bytes.echo" = 2\n[groups]\nbytes = 3'))
    score = read.score(run(ECHO, WRONG))
    assert [(item.name, item.points) for item in score.items] == [("bytes.echo", 2), ("bytes", 0)]


def test_all_or_nothing(folder: Path) -> None:
    read = read_rubric(rubric(folder, 'all_or_nothing = ["bytes"]\n[groups]\nbytes = 3'))
    assert read.score(run(ECHO, WRONG)).total == 0
    assert read.score(run(ECHO, result("bytes.nul"))).total == 3


def test_what_does_not_apply_is_told_apart_from_what_failed(folder: Path) -> None:
    read = read_rubric(rubric(folder, "[groups]\nbytes = 3\ndatagrams = 2"))
    score = read.score(run(WRONG))
    assert [item.left_out for item in score.items] == [False, True]
    assert (score.total, score.of) == (0, 3)


def test_what_was_not_reached_has_failed(folder: Path) -> None:
    read = read_rubric(rubric(folder, "[groups]\nbytes = 4"))
    assert read.score(run(ECHO, error="killed", more=("bytes.nul",))).total == 2
    assert (read.score(LOST).total, read.score(LOST).of) == (0, 4)


def test_points_are_scaled_to_the_total(folder: Path) -> None:
    read = read_rubric(rubric(folder, 'title = "x"\ntotal = 20\n[groups]\nbytes = 3'))
    score = read.score(run(ECHO, WRONG))
    assert (score.total, score.of) == (10, 20)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[groups]\nbites = 3", "no group 'bites' (did you mean bytes?)"),
        ('[checks]\n"bytes.ecko" = 3', "no check 'bytes.ecko' (did you mean bytes.echo?)"),
        ("[checks]\nbytes.echo = 3", 'put quotes around names with dots: "bytes.echo"'),
        ("[checkz]\n", "no key 'checkz' (did you mean checks?)"),
        ("[groups]\nbytes = true", "bytes = True: expected a number of points"),
        ("[groups]\nbytes = nan", "expected points of 0 or more"),
        ("[groups]\nbytes = -1", "expected points of 0 or more"),
        ("total = 'x'\n[groups]\nbytes = 1", "total = 'x': expected a number"),
        ("title = 1\n[groups]\nbytes = 1", "expected text"),
        ("all_or_nothing = ['faults']\n[groups]\nbytes = 1", "no group in [groups] 'faults'"),
        ("all_or_nothing = 'bytes'\n[groups]\nbytes = 1", "expected a list"),
        ("groups = 3", "expected a table [groups]"),
        ("", "it has no points"),
        ("a = ", "is not TOML"),
    ],
)
def test_a_wrong_rubric_is_explained(folder: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError) as raised:
        read_rubric(rubric(folder, text))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_rubric_that_is_not_there(folder: Path) -> None:
    with pytest.raises(OptionError, match="No such file"):
        read_rubric(str(folder / "none.toml"))


# Tables


def test_csv_has_a_row_a_target_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv([run(ECHO, WRONG), LOST], [None, None], None))))
    assert [row["target"] for row in rows] == ["a server", "'=1+1"]
    assert [row["bytes"] for row in rows] == ["1 of 2", "0 of 2"]
    assert rows[1]["error"] == "it did not listen"


def test_csv_has_the_points(folder: Path) -> None:
    read = read_rubric(rubric(folder, "[groups]\nbytes = 3\ndatagrams = 2"))
    one = run(ECHO, WRONG)
    row = next(csv.DictReader(io.StringIO(as_csv([one], [read.score(one)], read))))
    assert (row["bytes"], row["datagrams"], row["points"], row["of"]) == ("1.5", "", "1.5", "3")


def test_html_escapes_and_needs_nothing_else(folder: Path) -> None:
    read = read_rubric(rubric(folder, 'title = "Homework <3"\n[groups]\nbytes = 3'))
    runs = [run(WRONG, name="<script>alert(1)</script>"), LOST, run(ECHO, name="right")]
    page = as_html(runs, [read.score(one) for one in runs], read)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<title>Homework &lt;3</title>" in page
    assert "it did not listen" in page
    assert "2 checks were not made" in page
    assert "http" not in page
    assert CHECKS["bytes.every-value"].requirement in page


def test_a_table_is_html_or_csv() -> None:
    with pytest.raises(OptionError, match=r"ends in \.html or \.csv"):
        check_table("table.xlsx")


# Files


def test_a_file_is_replaced_whole_and_keeps_its_mode_and_links(folder: Path) -> None:
    file, link = folder / "a", folder / "link"
    file.write_text("before")
    file.chmod(0o640)
    link.symlink_to(file)
    save(str(link), "after")
    assert file.read_text() == "after"
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(os.listdir(folder)) == ["a", "link"]


def test_what_cannot_be_saved_leaves_what_was_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a").write_text("before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(str(folder / "a"), "after")
    assert (folder / "a").read_text() == "before"
    assert os.listdir(folder) == ["a"]


def test_what_is_no_file_is_written_to() -> None:
    check_writable("/dev/null")
    save("/dev/null", "text")
    assert not os.path.isfile("/dev/null")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none/a", "No such file"), ("", "it is a folder"), ("file/a", "Not a directory")],
)
def test_what_cannot_be_written_is_known_before(folder: Path, name: str, reason: str) -> None:
    (folder / "file").touch()
    with pytest.raises(OptionError, match=reason):
        check_writable(str(folder / name))
    assert os.listdir(folder) == ["file"]
