"""``echoservers check``: what it prints, its exit codes, and that it leaves nothing running."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from check_samples import BAD, GOOD, TWO, write
from echoservers.cli import check as cli_check
from echoservers.cli import main
from support import PATIENCE, ROOT, program, run_cli, serving, state_of, wait_until
from terminal import Terminal, why_no_terminal

FEW = ("--only", TWO)
FORKING = ("--expect-design", "forking")
NO_TERMINAL = why_no_terminal()


def check(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    done = run_cli("check", *arguments, **options)
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def command(folder: Path, code: str) -> tuple[str, str]:
    write(folder, server=code)
    return "--command", f"python3 {folder}/server.py {{port}}"


def without_times(text: str) -> str:
    return re.sub(r" +\d+\.\d+ s", " TIME", text)


# What is printed


def test_a_right_server_passes() -> None:
    done = check("threading-tcp", *FEW)
    assert done.returncode == 0
    assert done.stderr == ""
    first, *rows, last = without_times(done.stdout).splitlines()
    assert first == "threading-tcp: 2 checks, as a concurrent server"
    assert [row.split()[:3] for row in rows] == [
        ["pass", "bytes.echo", "TIME"],
        ["pass", "bytes.every-value", "TIME"],
    ]
    assert last == "2 passed, in TIME"


@pytest.mark.parametrize(
    ("arguments", "at_once"),
    [(["--all"], 9), (["--submissions", "."], 3), (["--all", "--jobs", "1"], 1)],
)
def test_how_many_are_checked_at_a_time(
    arguments: list[str], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert cli_check._at_once(cli_check._parser().parse(arguments)) == at_once


def test_a_failure_shows_what_was_expected_and_what_came(folder: Path) -> None:
    done = check(*command(folder, BAD), *FEW)
    assert done.returncode == 1
    shown = without_times(done.stdout)
    assert "FAIL  bytes.every-value TIME  Each of the 256 byte values" in shown
    assert re.search(r"\(RFC 862\)\n      expected at byte \d+:\n        [\da-f ]* 0c ", shown)
    assert re.search(r"\n      got\n        [\da-f ]* 3f [\da-f ]*\|", shown)
    assert "1 passed, 1 failed, in TIME" in shown


def test_an_endpoint_can_be_checked_by_several_names(folder: Path) -> None:
    with serving("threading-tcp", folder) as server:
        done = check(server.endpoint(), "threading-tcp", "udp", "--jobs", "2", *FEW)
    assert done.returncode == 0
    assert "pass  threading-tcp " in done.stdout
    assert f"pass  {server.endpoint()} " in done.stdout
    assert without_times(done.stdout).endswith("3 targets: 3 passed, 0 failed, in TIME\n")


def test_list_has_every_check_with_requirement_and_source() -> None:
    done = check("--list", "--only", "bytes", "--skip", "bytes.nul")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "bytes.echo"
    assert lines[1].startswith("    What is sent comes back")
    assert lines[2] == "    RFC 862"
    assert "bytes.nul" not in lines
    assert not any(line.startswith("streams.") for line in lines)
    assert "streams.half-close\n" in check("--list").stdout


def test_repeat_and_level_and_framing(folder: Path) -> None:
    done = check(
        *("threading-tcp", "--only", "clients.two-together,bytes.echo"),
        *("--level", "iterative", "--framing", "lines", "--repeat", "3"),
    )
    assert done.returncode == 0
    assert "threading-tcp: 1 check, as an iterative server" in done.stdout


def test_points_and_files(folder: Path) -> None:
    (folder / "rubric.toml").write_text('total = 10\n[checks]\n"bytes.echo" = 4\n[groups]\nbytes=1')
    files = ("--json", "out.json", "--junit", "out.xml", "--table", "out.html")
    done = check(
        *command(folder, BAD), *FEW, *files, "--rubric", "rubric.toml",
        cwd=folder, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "; 8 of 10 points" in done.stdout
    fields = json.loads((folder / "out.json").read_text())
    assert list(fields) == ["target", "design", "checks", "points"]
    assert fields["points"]["total"] == 8
    assert [c["outcome"] for c in fields["checks"]] == ["pass", "fail"]
    assert len(list(ElementTree.parse(folder / "out.xml").iter("testcase"))) == 2
    assert "<table>" in (folder / "out.html").read_text()


ONCE = """\
import os, sys
if os.path.exists({mark!r}):
    raise SystemExit("no second time")
open({mark!r}, "w").close()
"""
"""Cannot be started again."""


def test_a_failure_does_not_hide_why_the_other_checks_were_not_made(folder: Path) -> None:
    (folder / "rubric.toml").write_text("[groups]\nbytes = 3")
    done = check(
        *command(folder, ONCE.format(mark=str(folder / "mark")) + BAD),
        *("--only", f"{TWO},bytes.nul", "--rubric", f"{folder}/rubric.toml"),
    )
    assert done.returncode == 1
    last = without_times(done.stdout).splitlines()[-1]
    assert last == "1 passed, 1 failed, not all made, in TIME; 1 of 3 points"
    assert done.stderr.startswith("echoservers: error: ")
    assert "ended with status 1 before it listened; it said: no second time" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_target_that_cannot_be_started_gets_its_points_too(folder: Path) -> None:
    (folder / "rubric.toml").write_text("[groups]\nbytes = 3")
    rubric = ("--rubric", f"{folder}/rubric.toml")
    done = check(*command(folder, "raise SystemExit('sorry')"), *FEW, *rubric)
    assert done.returncode == 3
    last = without_times(done.stdout).splitlines()[-1]
    assert last == "0 passed, not all made, in TIME; 0 of 3 points"


@pytest.mark.skipif(NO_TERMINAL is not None, reason=str(NO_TERMINAL))
@pytest.mark.parametrize("colours", [True, False], ids=["colours", "NO_COLOR"])
def test_a_terminal_has_colours_unless_told_not_to(folder: Path, colours: bool) -> None:
    pytest.importorskip("rich")
    more = {"COLUMNS": "80"} if colours else {"COLUMNS": "80", "NO_COLOR": "1"}
    with Terminal("check", *command(folder, BAD), *FEW, term="xterm-256color", **more) as terminal:
        assert terminal.wait_for_end() == 1
    assert ("\x1b[32mpass" in terminal.shown) is colours
    assert (re.search(r"\x1b\[[\d;]*m", terminal.shown) is None) is not colours
    assert "1 of 2 made, now bytes.every-value" in terminal.shown
    assert "1 passed, 1 failed" in terminal.shown


def test_nothing_that_a_server_prints_is_taken_for_ours(folder: Path) -> None:
    code = "print('[red]\\x1b[31m\\npass  all\\r[/]'); raise SystemExit(3)"
    done = check(*command(folder, code), *FEW)
    assert done.returncode == 3
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    assert r"it said: [red]\x1b[31m / pass  all / [/]" in done.stderr


# Wrong usage, and targets that are not there


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to check; give a TARGET"),
        (["--command", "./server"], "the command './server' has no {port}"),
        (["--command", "./s {port}", "--transport", "raw"], "a command's transport cannot be"),
        (["tcp", "--transport", "udp"], "--transport is for --command"),
        (["threding-tcp"], "there is no mode 'threding-tcp' (did you mean threading-tcp"),
        (["tcp", "--only", "bytes.ecko"], "'bytes.ecko' (did you mean bytes.echo?)"),
        (["tcp", "--only", "datagrams"], "no check that is left applies"),
        (["tcp", "--level", "many"], "expected iterative, pool, concurrent"),
        (["tcp", "--timeout-scale", "0"], "expected a number from 0.01 to 100"),
        (["tcp", "--expect-design", "foking"], "there is no design 'foking'"),
        (["tcp://[::1]:7", *FORKING], "the processes of tcp://[::1]:7 cannot be seen"),
        (["tcp", "unix:///none", *FORKING, "--only", "design"], "of unix:///none cannot be"),
        (["tcp", *FORKING, "--only", "bytes"], "leaves out design.expected, which --expect-des"),
        (["tcp", *FORKING, "--skip", "design.expected"], "leaves out design.expected"),
        (["tcp", "--rubric", "/none.toml"], "the rubric /none.toml: No such file"),
        (["tcp", "--json", "/none/a.json"], "cannot write to /none/a.json: No such file"),
        (["tcp", "--table", "a.txt"], "expected a name that ends in .html or .csv"),
        (["tcp", "--json", "a", "--junit", "a"], "--junit a is the file of --json"),
        (["tcp", "--json", "a", "--junit", "../x/a"], "--junit ../x/a is the file of --json"),
        (["tcp", "--json", "a.csv", "--table", "./a.csv"], "./a.csv is the file of --json"),
        (["tcp", "--build", "make"], "--build is for --submissions"),
        (["--submissions", "/none"], "--submissions needs a --command"),
        (["--submissions", "/", "tcp"], "leave out TARGET"),
        (["--submissions", "/none", "--command", "{file} {port}"], "/none: No such file"),
        (["--submissions", "/", "--command", "x {port}"], "put {file} or {dir} into it"),
        (["tcp", "--jsn", "a"], "unknown argument --jsn (did you mean --json?)"),
    ],
)
def test_wrong_usage_is_one_line_and_2(
    folder: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder / "x").mkdir()
    monkeypatch.chdir(folder / "x")
    assert main(["check", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert os.listdir(folder / "x") == []


def test_without_psutil_no_design_can_be_expected(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert main(["check", "tcp", *FORKING]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "needs psutil: pip install 'echoservers[lab]'" in shown.err
    assert shown.err.count("\n") == 1


def test_a_wrong_rubric_is_told_before_anything_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "r.toml").write_text("[groups]\nstreems = 1")
    assert main(["check", "tcp", "--rubric", str(folder / "r.toml")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "there is no group 'streems' (did you mean streams?)" in shown.err


@pytest.mark.parametrize("made", ["link.json", "rubric.toml"])
def test_no_file_is_used_for_two_things_by_a_link_either(
    folder: Path, made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rubric = folder / "rubric.toml"
    rubric.write_text("[groups]\nbytes = 1")
    (folder / "link.json").symlink_to(folder / "out.json")
    other = (
        ("--rubric", str(rubric)) if made == "rubric.toml" else ("--junit", f"{folder}/out.json")
    )
    assert main(["check", "tcp", *FEW, "--json", str(folder / made), *other]) == 2
    assert "is the file of --" in capsys.readouterr().err
    assert sorted(os.listdir(folder)) == ["link.json", "rubric.toml"]
    assert rubric.read_text() == "[groups]\nbytes = 1"


def test_a_file_that_is_lost_costs_no_other_and_is_told_in_one_line(folder: Path) -> None:
    (folder / "gone").mkdir()
    code = f"import shutil\nshutil.rmtree({str(folder / 'gone')!r}, ignore_errors=True)\n"
    files = ("--json", f"{folder}/gone/a.json", "--junit", f"{folder}/a.xml")
    done = check(*command(folder, code + GOOD), *FEW, *files)
    assert done.returncode == 1
    assert "2 passed" in done.stdout
    assert done.stderr == (
        f"echoservers: error: cannot write to {folder}/gone/a.json: No such file or directory\n"
    )
    assert len(list(ElementTree.parse(folder / "a.xml").iter("testcase"))) == 2


def test_a_target_that_ends_cannot_be_started_or_reached_is_3(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        unused = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        for arguments, message in (
            (
                command(folder, "raise SystemExit('sorry')"),
                "ended with status 1 before it listened",
            ),
            (("--command", "./none {port}"), "./none cannot be started: No such file"),
            ((unused,), f"{unused} cannot be reached: Connection refused"),
            ((unused.replace("tcp", "udp"),), "cannot be reached: Connection refused"),
        ):
            done = check(*arguments, *FEW)
            assert done.returncode == 3, done
            assert message in done.stderr
            assert done.stderr.count("\n") == 1


def test_why_checks_were_not_made_is_told_beside_a_file_that_is_lost(folder: Path) -> None:
    (folder / "gone").mkdir()
    code = f"import shutil\nshutil.rmtree({str(folder / 'gone')!r})\nraise SystemExit('sorry')"
    done = check(*command(folder, code), *FEW, "--json", f"{folder}/gone/a.json")
    assert done.returncode == 1
    assert "it said: sorry; cannot write to " in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("gevent-tcp",), ("tcp", "gevent-tcp", *FEW)])
def test_a_mode_that_is_not_available_here_is_3(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gevent", None)
    assert main(["check", *arguments]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("echoservers: error: gevent-tcp is not available: ")
    assert shown.err.count("\n") == 1


def test_of_many_one_that_cannot_be_reached_is_3_and_costs_no_other(folder: Path) -> None:
    done = check("tcp", "unix:///none", *FEW, "--json", str(folder / "out.json"))
    assert done.returncode == 3
    assert "1 passed, 0 failed, 1 could not be checked" in done.stdout
    first, second = json.loads((folder / "out.json").read_text())["targets"]
    assert (first["error"], len(first["checks"])) == (None, 2)
    assert (second["error"] is None, second["checks"]) == (False, [])


# Interruptions

SILENT = """\
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
open("pids", "a").write(f"{os.getpid()}\\n")
if not os.fork():
    os.setsid()
    open("pids", "a").write(f"{os.getpid()}\\n")
connections = []
while True:
    connections.append(listener.accept())
"""


@pytest.mark.parametrize(
    ("signum", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9), (signal.SIGHUP, -1)],
    ids=["SIGINT", "SIGTERM", "SIGKILL", "SIGHUP"],
)
def test_an_interrupted_check_leaves_no_process_behind(
    folder: Path, signum: int, status: int
) -> None:
    if signal.getsignal(signum) is signal.SIG_IGN:
        pytest.skip("whoever started the tests ignores it, as nohup does, and so does a program")
    pids = folder / "pids"
    before = "{'target': 'before'}"
    (folder / "out.json").write_text(before)
    started = subprocess.Popen(
        [
            *(sys.executable, "-m", "echoservers", "check", *command(folder, SILENT)),
            *("--json", "out.json", "--timeout-scale", "10", *FEW),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with started:
        wait_until(lambda: pids.exists() and pids.read_text().count("\n") == 2, "it has started")
        started.send_signal(signum)
        assert started.wait(PATIENCE) == status
        assert started.stderr is not None
        assert started.stderr.read() == b""  # at the end of all that might write to it
    for pid in map(int, pids.read_text().split()):
        wait_until(lambda pid=pid: state_of(pid) == "", "what it has started ends")
    assert (folder / "out.json").read_text() == before


def test_a_reader_that_has_had_enough_ends_it(folder: Path) -> None:
    reading, writing = os.pipe()
    with program("--mode", "tcp", "--port", "0") as server:
        started = subprocess.Popen(
            [sys.executable, "-m", "echoservers", "check", server.url, *FEW],
            cwd=ROOT,
            stdout=writing,
            stderr=subprocess.PIPE,
        )
        os.close(writing)
        assert select.select([reading], [], [], PATIENCE)[0]
        os.close(reading)
        with started:
            _, errors = started.communicate(timeout=PATIENCE)
        assert started.returncode in (0, 1)  # it may have said all by then
        assert errors == b""


def test_a_right_server_of_a_student_passes(folder: Path) -> None:
    assert check(*command(folder, GOOD), *FEW, "--limit-memory", "500").returncode == 0
