"""``echoservers compare``, as a program: what it prints, saves, leaves behind, and returns."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from echoservers.lab.results import load, save
from lab_sample import sample_results
from support import PATIENCE, ROOT, children_of, state_of, wait_until

TINY = ("--repeats", "1", "--duration", "0.1", "--warmup", "0.02", "--no-report")
ONE = ("--experiment", "scaling", "--set", "connections=1")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **more}


def compare(*arguments: object, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "echoservers", "compare", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=cwd,
        env=environment(**more),
        check=False,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two servers."""
    folder = tmp_path_factory.mktemp("compared")
    done = compare("tcp", "epoll-tcp", *ONE, *TINY, "--output", folder / "made", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Throughput against the number of clients" in done.stdout
    assert "epoll-tcp" in done.stdout
    assert "scaling 1/1 epoll-tcp 1: " in done.stderr
    assert "2 measurements, 2 starts of a server: about 2 s" in done.stderr
    return folder / "made"


def test_what_was_measured_is_saved(measured: Path) -> None:
    results = load(measured)
    assert results.finished
    assert [target.name for target in results.targets] == ["tcp", "epoll-tcp"]
    assert results.baseline == "tcp"
    assert results.command[0] == "compare"
    (experiment,) = results.experiments
    assert [cell.parameters["connections"] for cell in experiment.cells] == [1, 1]
    assert (measured / "results.csv").read_text().startswith("experiment,target,parameter,at")


def test_saved_results_are_shown_again_and_compared(measured: Path, tmp_path: Path) -> None:
    done = compare("--replay", measured, "--against", measured, "--no-report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Throughput against" in done.stdout
    assert "Against the earlier results" in done.stdout
    assert "no difference" in done.stdout or "one run" in done.stdout
    assert not os.listdir(tmp_path)


def test_saved_ratios_are_to_the_baseline_of_their_time(measured: Path, tmp_path: Path) -> None:
    replay = ("--replay", measured, "--no-report")
    same = compare(*replay, "--baseline", "tcp", cwd=tmp_path)
    assert same.returncode == 0, same.stderr
    other = compare(*replay, "--baseline", "epoll-tcp", cwd=tmp_path)
    assert other.returncode == 2
    assert "saved ratios are to 'tcp'" in other.stderr


def test_results_are_never_overwritten(measured: Path, tmp_path: Path) -> None:
    before = (measured / "results.json").read_bytes()
    done = compare("tcp", *ONE, *TINY, "--output", measured, cwd=tmp_path)
    assert done.returncode == 2
    assert "earlier results are never overwritten" in done.stderr
    assert (measured / "results.json").read_bytes() == before


def test_by_default_each_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    done = compare(
        "udp",
        *TINY,
        "--experiment",
        "datagram",
        "--set",
        "rate=100",
        "--set",
        "size=64",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "echoservers-results").iterdir()
    assert load(folder).finished
    assert str(folder.relative_to(tmp_path)) in done.stdout


def test_a_server_that_fails_is_said_and_the_others_are_measured(tmp_path: Path) -> None:
    script = tmp_path / "bad.py"
    script.write_text("print('no luck today'); raise SystemExit(7)")
    command = f"bad={sys.executable} {script} {{port}}"
    done = compare("tcp", "--command", command, *ONE, *TINY, "--output", "made", cwd=tmp_path)
    assert done.returncode == 1
    assert "no luck today" in done.stdout
    good, bad = load(tmp_path / "made").experiments[0].cells
    assert good.figures
    assert bad.error is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_was_measured_and_leaves_nothing_running(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "echoservers", "compare", "tcp", "epoll-tcp", *ONE,
         "--repeats", "50", "--duration", "0.1", "--no-report", "--output", "made"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("scaling 2/"):
            break
    children = children_of(process.pid)
    process.send_signal(number)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "interrupted; what was measured is in made" in output
    results = load(tmp_path / "made")
    assert not results.finished
    assert results.experiments[0].cells
    wait_until(lambda: not any(state_of(child) for child in children), "servers have ended", 5)


SERVES = """\
import os, signal, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
pids = os.getpid(), os.fork()
if not pids[1]:
    os.setsid()
    signal.pause()
while True:
    peer, _ = listener.accept()
    while data := peer.recv(65536):
        if not os.path.exists("pids"):
            with open("pids.new", "w") as file:
                print(*pids, file=file)
            os.rename("pids.new", "pids")
        peer.sendall(data)
"""


def test_a_comparison_that_is_killed_leaves_no_target_and_no_generator(tmp_path: Path) -> None:
    (tmp_path / "serves.py").write_text(SERVES)
    pids = tmp_path / "pids"
    started = subprocess.Popen(
        [sys.executable, "-m", "echoservers", "compare", *ONE, "--no-report", "--duration", "600",
         "--command", f"it={sys.executable} serves.py {{port}}", "--output", "made"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        wait_until(pids.exists, "it serves")
        started.kill()
        # To the end of all that might write to it, within a bound.
        started.communicate(timeout=PATIENCE)
        assert started.returncode == -signal.SIGKILL
        for pid in map(int, pids.read_text().split()):
            wait_until(lambda pid=pid: state_of(pid) == "", "what it has started ends")
    finally:
        started.kill()
        for pid in map(int, pids.read_text().split() if pids.exists() else ()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with started:
            pass


def compare_on_full_disk(most: int, *arguments: str, cwd: Path) -> str:
    """What it says last, where no file can have more than *most* bytes."""
    limit = most, resource.RLIM_INFINITY
    # A file of the coverage's would be too large, too.
    unmeasured = {k: v for k, v in environment().items() if not k.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-m", "echoservers", "compare", *arguments],
        cwd=cwd, env=unmeasured, capture_output=True, text=True, timeout=50,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit), check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_a_full_disk_is_said_in_one_line(tmp_path: Path) -> None:
    last = compare_on_full_disk(200, "tcp", *ONE, *TINY, "--output", "made", cwd=tmp_path)
    assert "cannot save the results in made: File too large" in last


def test_a_full_disk_leaves_an_earlier_report_whole(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    save(sample_results(("churn", "scaling"), servers=3, seed=1), made)
    assert compare("--replay", made, cwd=tmp_path).returncode == 0
    save(sample_results(("churn", "scaling"), servers=4, seed=2), made)
    earlier = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    sizes = [len(content) for path, content in earlier.items() if "results" not in path.name]
    assert min(sizes) < 30_000 < max(sizes)  # something can be written, but not all
    last = compare_on_full_disk(30_000, "--replay", "made", cwd=tmp_path)
    said = "cannot save the report in made: File too large; what was saved before is still there"
    assert said in last
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == earlier


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nosuch",), "there is no mode 'nosuch'"),
        (("tcp", "--experiment", "scalin"), "did you mean scaling?"),
        (("tcp", "--set", "colour=1"), "no experiment that is run has 'colour'"),
        (("tcp", "--set", "idle.conections=1"), "did you mean idle.connections"),
        (("tcp", "--set", "connections"), "expected PARAMETER=VALUE"),
        (("tcp", "--experiment", "scaling", "--set", "connections=x"), "expected whole numbers"),
        (("tcp", "--experiment", "work", "--set", "milliseconds=1,2"), "give one value"),
        (("tcp", "--experiment", "slow-client", "--set", "neighbour=rude"), "expected none, sil"),
        (("tcp", "--repeats", "0"), "expected a whole number from 1 to 1000"),
        (("tcp", "--repeats", "2.5"), "from 1 to 1000, not '2.5'"),
        (("tcp", "--repeats", "-3"), "from 1 to 1000, not '-3'"),
        (("tcp", "--duration", "0"), "expected a number from 0.05 to 3600"),
        (("tcp", "--duration", "long"), "from 0.05 to 3600, not 'long'"),
        (("tcp", "--duration", "nan"), "from 0.05 to 3600, not 'nan'"),
        (("tcp", "--duration", "inf"), "from 0.05 to 3600, not 'inf'"),
        (("tcp", "--warmup", "-1"), "expected a number from 0 to 3600"),
        (("tcp", "--baseline", "udp"), "is none of the targets"),
        (("udp", "--experiment", "churn"), "no experiment for servers over udp"),
        (("tcp", "tcp"), "two targets are called 'tcp'"),
        (("--command", "./server {port}"), "expected NAME="),
        (("--command", "mine=./server"), "has no {port}"),
        (("--endpoint", "mine=localhost"), "is no endpoint"),
        (("--replay", "nothing"), "there are no results"),
        (("tcp", "--against", "nothing"), "there are no results"),
        (("tcp", "--file", "none.toml"), "none.toml: No such file"),
    ],
)
def test_wrong_usage_is_one_line_and_makes_nothing(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    from echoservers.cli import main

    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        with pytest.MonkeyPatch.context() as patch:
            lines: list[str] = []
            patch.setattr("echoservers.cli._tell", lines.append)
            assert main(["compare", *arguments]) == 2
    finally:
        os.chdir(before)
    (line,) = lines
    assert said in line
    assert not os.listdir(tmp_path)


def test_a_setting_can_be_for_one_experiment() -> None:
    from echoservers.cli import compare as command

    given = command._parser().parse(["--quick", "--set", "idle.connections=0,5", "--set=size=9"])
    made = {experiment.name: experiment for experiment in command._experiments(given)}
    assert made["idle"].values == (0, 5)
    assert made["scaling"].values == (1, 4, 16)
    assert made["scaling"].fixed["size"] == made["churn"].fixed["size"] == 9


OWN = """
name = "mine"
question = "What is it like?"
load = { connections = 2 }
sweep = { parameter = "size", values = [1] }
"""


def test_two_experiments_of_one_name_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from echoservers.cli import main

    files = [tmp_path / "one.toml", tmp_path / "two.toml"]
    for file in files:
        file.write_text(OWN)
    assert main(["compare", "tcp", *(f"--file={file}" for file in files)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        f"{files[0]} and {files[1]} are both called 'mine'; name each experiment once"
    )


def test_a_file_that_is_for_no_target_is_not_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from echoservers.cli import main

    file, churns = tmp_path / "mine.toml", tmp_path / "churns.toml"
    file.write_text(OWN)
    churns.write_text(OWN.replace("mine", "churns").replace("{ conn", "{ shape = 'churn', conn"))
    made = tmp_path / "made"
    files = (f"--file={file}", f"--file={churns}")
    assert main(["compare", "udp", *files, *TINY, "--output", str(made)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("churns: no experiment for servers over udp")
    assert not made.exists()


def planned(*arguments: str) -> tuple[int, float]:
    """How many targets there are, and how many seconds it is going to take."""
    from echoservers.cli import compare as command
    from echoservers.cli.compare_progress import planned_seconds
    from echoservers.lab.measure import Study, planned_visits

    given = command._parser().parse(arguments)
    experiments = command._experiments(given)
    targets = command._targets(given, experiments)
    return len(targets), planned_seconds(planned_visits(Study(targets, experiments)))


def test_quick_is_quick() -> None:
    targets, seconds = planned("--quick")
    assert seconds / targets <= 150 / 12
    assert seconds <= 180
    names = [
        "tcp",
        "threading-tcp",
        "forking-tcp",
        "thread-pool-tcp",
        "prethreading-tcp",
        "select-tcp",
    ]
    names += ["poll-tcp", "epoll-tcp", "asyncio-tcp", "prefork-tcp"]
    targets, seconds = planned("--quick", *names)
    assert targets == 10
    assert seconds <= 150


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 s"),
        (59, "59 s"),
        (60, "1 min"),
        (146, "2 min 30 s"),
        (3596, "60 min"),
        (3900, "1 h 5 min"),
        (7200, "2 h"),
    ],
)
def test_time_in_words(seconds: float, said: str) -> None:
    from echoservers.cli.compare_progress import in_words

    assert in_words(seconds) == said


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from echoservers.cli import compare as command
    from echoservers.cli import main

    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "rich" else object())
    assert main(["compare", "tcp"]) == 1
    assert capsys.readouterr().err == (
        "echoservers: error: compare needs rich: pip install 'echoservers[lab]'\n"
    )


def test_the_list_says_what_each_shows(capsys: pytest.CaptureFixture[str]) -> None:
    from echoservers.cli import main
    from echoservers.lab.experiments import EXPERIMENTS

    assert main(["compare", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in EXPERIMENTS)
    assert shown.count("Look for:") == len(EXPERIMENTS) == 12


def test_the_default_is_every_common_mode_and_the_four_most_telling() -> None:
    from echoservers.cli import compare as command
    from echoservers.lab.experiments import QUICK

    given = command._parser().parse(["--quick"])
    experiments = command._experiments(given)
    assert [experiment.name for experiment in experiments] == list(QUICK)
    names = [target.name for target in command._targets(given, experiments)]
    assert names[0] == "tcp"
    assert {"threading-tcp", "forking-tcp", "prefork-tcp", "epoll-tcp", "asyncio-tcp"} <= set(names)
    assert not any("udp" in name or name.startswith("prefork-e") for name in names)
