"""``check --submissions``: every one is graded, and what one does costs itself alone."""

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from check_samples import BAD, GOOD, TWO, write
from support import run_cli

COMMAND = ("--command", "python3 {file} {port}", "--only", TWO)

BOMB = """\
import os, time
end = time.monotonic() + 5  # whatever goes wrong, it is over then
while time.monotonic() < end:
    try:
        os.fork() or os.setsid()
    except OSError:
        pass
"""
HARMFUL = {
    "hangs": ("import signal; signal.pause()", "did not listen"),
    "prints": ("while True: print('x' * 100_000)", "was killed: more than 20 MiB printed"),
    "memory": ("b = []\nwhile True: b.append(bytearray(10**7))", "more than 100 MiB of memory"),
    "stops": ("import os; os.kill(os.getpid(), 19)", "did not listen"),
    "exits": ("raise SystemExit('sorry')", "ended with status 1 before it listened"),
    "forks": (BOMB, "more than 100 processes and threads"),
}
"""What each does, and what is said of it."""
LIMITS = ("--limit-output", "20", "--limit-memory", "100", "--limit-processes", "100")


def grade(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the results by name."""
    done = run_cli(
        "check", "--submissions", str(folder), *arguments, "--json", f"{folder}/.out.json"
    )
    assert done.stderr == b""
    fields = json.loads((folder / ".out.json").read_text())
    return done.returncode, {target["target"]: target for target in fields["targets"]}


def outcomes(target: dict[str, Any]) -> list[str]:
    return [check["outcome"] for check in target["checks"]]


def test_each_costs_itself_alone(folder: Path) -> None:
    write(folder, good=GOOD, bad=BAD, **{name: code for name, (code, _) in HARMFUL.items()})
    code, found = grade(folder, *COMMAND, *LIMITS, "--jobs", "4", "--timeout-scale", "0.5")
    assert code == 1
    assert len(found) == 2 + len(HARMFUL)
    assert outcomes(found["good.py"]) == ["pass", "pass"]
    assert outcomes(found["bad.py"]) == ["pass", "fail"]
    for name, (_, said) in HARMFUL.items():
        assert said in found[f"{name}.py"]["error"]
        assert outcomes(found[f"{name}.py"]) == []


def test_files_and_folders_by_name_without_hidden_ones(folder: Path) -> None:
    write(folder, b=GOOD, a=GOOD)
    for name in ("c", ".git", "__pycache__"):
        (folder / name).mkdir()
        (folder / name / "__main__.py").write_text(GOOD)
    code, found = grade(folder, *COMMAND)
    assert (code, list(found)) == (0, ["a.py", "b.py", "c"])


def test_names_are_never_code(folder: Path) -> None:
    for name in ("=1+1", "{port}", "<b>&", "a b'\"$(x)", "--help"):
        (folder / name).write_text(GOOD)
    code, found = grade(folder, *COMMAND, "--table", f"{folder}/.out.csv")
    assert code == 0, found
    with open(folder / ".out.csv", newline="") as file:
        names = [row["target"] for row in csv.DictReader(file)]
    assert names == ["'--help", "<b>&", "'=1+1", "a b'\"$(x)", "{port}"]


def test_a_build_step_and_a_folder_of_its_own(folder: Path) -> None:
    write(folder, good=GOOD, broken="raise SystemExit(3)")
    (folder / "own").mkdir()
    (folder / "own" / "server.py").write_text(GOOD)
    build = 'python3 -c "import os, shutil, sys; f, d = sys.argv[1:]; os.path.isdir(f) or '
    build += "('broken' in f and sys.exit(4)) or shutil.copy(f, 'server.py')\" {file} {dir}"
    code, found = grade(
        folder, "--build", build, "--command", "python3 {dir}/server.py {port}", "--only", TWO
    )
    assert code == 3
    assert outcomes(found["good.py"]) == outcomes(found["own"]) == ["pass", "pass"]
    assert found["broken.py"]["error"] == "the build ended with status 4"
    assert sorted(os.listdir(folder / "own")) == ["server.py"]


def test_a_build_has_the_limits_too(folder: Path) -> None:
    write(folder, good=GOOD)
    build = "python3 -c 'while True: pass'"
    code, found = grade(folder, *COMMAND, "--build", build, "--limit-cpu", "1")
    assert code == 3
    error = found["good.py"]["error"]
    assert error == "the build was killed: more than 1 s of processor time"


def test_the_time_for_one_submission_is_limited(folder: Path) -> None:
    write(folder, good=GOOD, hangs=HARMFUL["hangs"][0])
    code, found = grade(folder, *COMMAND, "--limit-time", "3")
    assert code == 3
    assert outcomes(found["good.py"]) == ["pass", "pass"]
    assert found["hangs.py"]["error"] == "not done within 3 s"


def test_one_that_is_killed_again_and_again_is_given_up(folder: Path) -> None:
    hoard = "kept = bytearray(b'x' * 3 * 10**8); import select; select.select([], [], [], 1)"
    greedy = GOOD.replace("while data", f"{hoard}\n        while data")
    write(folder, greedy=greedy)
    code, found = grade(folder, *COMMAND[:2], "--only", "bytes", "--limit-memory", "100")
    assert code in (1, 3)
    assert (
        found["greedy.py"]["error"] == "killed 3 times, the last time: more than 100 MiB of memory"
    )
    first = found["greedy.py"]["checks"][0]
    assert "the server was killed: more than 100 MiB of memory" in first["got"]


def test_points_for_all_in_every_file(folder: Path) -> None:
    write(folder, good=GOOD, bad=BAD, exits="raise SystemExit(1)")
    (folder / ".rubric.toml").write_text("title = 'Week 3'\n[groups]\nbytes = 4")
    files = {kind: str(folder / f".out.{kind}") for kind in ("xml", "html")}
    _, found = grade(
        folder, *COMMAND, "--rubric", f"{folder}/.rubric.toml",
        "--junit", files["xml"], "--table", files["html"],
    )  # fmt: skip
    points = {name: (t["points"]["total"], t["points"]["of"]) for name, t in found.items()}
    assert points == {"bad.py": (2, 4), "exits.py": (0, 4), "good.py": (4, 4)}
    suites = ElementTree.parse(files["xml"]).getroot()
    assert [suite.get("name") for suite in suites] == ["bad.py", "exits.py", "good.py"]
    page = Path(files["html"]).read_text()
    assert "<title>Week 3</title>" in page
    assert "exits.py ended with status 1" in page


def test_an_empty_folder_is_wrong_usage(folder: Path) -> None:
    done: subprocess.CompletedProcess[bytes] = run_cli(
        "check", "--submissions", str(folder), *COMMAND
    )
    assert done.returncode == 2
    assert b"there is no file and no folder in it" in done.stderr
