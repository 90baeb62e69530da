"""How a run of checks goes when something ends: the server, the checker, or what it may open."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from check_samples import GOOD, write
from echoservers.conformance import CHECKS, Outcome, Report, Result, Subject, check_target
from echoservers.conformance.job import Job
from echoservers.conformance.pool import Ended, Pool
from echoservers.targets import Level, Limits, Target
from support import ROOT, children_of, serving, state_of, wait_until

DIES_OF_NUL = """\
import os, socket, sys, threading
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
while True:
    client, _ = listener.accept()
    with client:
        while data := client.recv(4096):
            client.sendall(data)
            if b"\\0" in data:
                threading.Timer(0.05, {}).start()
"""
"""Answers, and ends a moment later."""

DEATHS = {
    "status": ("os._exit, [3]", "the server ended with status 3"),
    "signal": ("os.kill, [os.getpid(), 9]", "the server ended with status -9"),
}


def checked(folder: Path, code: str, *names: str, repeat: int = 1) -> tuple[Report, list[Result]]:
    """The checks *names* of a server written in Python; the report, and what was told.

    On a busy machine the end of a server takes longer than a look for it: so that is longer here.
    """
    write(folder, server=code)
    target = Target.of_command(f"{sys.executable} -I -S {folder}/server.py {{port}}")
    told: list[Result] = []
    with Subject(target, Level.ITERATIVE, timeout_scale=5) as subject:
        checks = [CHECKS[name] for name in names]
        report = check_target(subject, checks, told.append, repeat, look=False)
    return report, told


@pytest.mark.parametrize(("how", "said"), DEATHS.values(), ids=DEATHS)
def test_a_death_that_is_seen_later_is_the_fault_of_the_check_before(
    folder: Path, how: str, said: str
) -> None:
    names = ["bytes.nul", "streams.no-greeting", "bytes.echo"]
    report, told = checked(folder, DIES_OF_NUL.format(how), *names)
    outcomes = {result.check.id: result.outcome for result in report.results}
    assert outcomes == {names[0]: Outcome.FAIL, names[1]: Outcome.PASS, names[2]: Outcome.PASS}
    assert report.failed[0].expected == "a server that goes on"
    assert said in report.failed[0].got
    assert told == report.results


@pytest.mark.parametrize("name", ["processes.descriptors", "processes.sigterm"])
def test_a_death_is_not_lost_when_the_next_check_has_a_server_of_its_own(
    folder: Path, name: str
) -> None:
    code = DIES_OF_NUL.format("os._exit, [3]")
    report, told = checked(folder, code, "bytes.nul", name, "bytes.echo")
    outcomes = {result.check.id: (result.outcome, result.got) for result in report.results}
    assert outcomes.pop("bytes.nul")[0] is Outcome.FAIL
    assert "the server ended with status 3" in report.failed[0].got
    assert outcomes == {name: (Outcome.PASS, ""), "bytes.echo": (Outcome.PASS, "")}
    assert told == report.results


def test_checks_share_servers(folder: Path) -> None:
    """Each start of an interpreter takes longer than most checks do."""
    starts = folder / "starts"
    count = f"open({str(starts)!r}, 'a').write('.')\n"
    names = [name for name in CHECKS if name.startswith("processes.")]
    names.remove("processes.sigint")  # Ctrl-C is an exception to it
    report, _ = checked(folder, count + GOOD, "bytes.echo", *names, "bytes.nul")
    assert [(result.check.id, result.got) for result in report.results if result.got] == []
    # The first; one for leaks and ends by SIGTERM; a second instance of that; one that ends by
    # SIGINT; and one for what comes behind.
    assert len(starts.read_text()) == 5


def test_a_death_is_not_lost_when_the_check_that_sees_it_fails_anyway(folder: Path) -> None:
    code = DIES_OF_NUL.format("os._exit, [3]")
    greets = code.replace("with client:", "with client:\n        client.sendall(b'Hello!\\n')")
    report, _ = checked(folder, greets, "bytes.nul", "streams.no-greeting")
    assert [result.check.id for result in report.failed] == ["bytes.nul", "streams.no-greeting"]
    assert "status 3" in report.failed[0].got


def test_a_late_death_is_the_fault_of_the_check_that_it_follows_again(folder: Path) -> None:
    names = [name for name in CHECKS if name.startswith("bytes.")]
    code = DIES_OF_NUL.format("os._exit, [3]").replace("\\0", "%n")
    report, told = checked(folder, code, *names)
    assert [result.check.id for result in report.failed] == ["bytes.format-signs"]
    assert "the check; the server ended with status 3" in report.failed[0].got
    assert told == report.results
    assert [result.check.id for result in told] == names


def test_a_death_of_no_check_is_told_as_what_it_is(folder: Path) -> None:
    code = f"import pathlib; mark = pathlib.Path({str(folder / 'mark')!r}); served = 0\n"
    code += DIES_OF_NUL.replace(
        "    with client:",
        "    served += 1\n"
        "    if served == 3 and not mark.exists():\n"
        "        mark.touch()\n"
        "        os._exit(3)\n"
        "    with client:",
    )
    names = ["bytes.letters", "bytes.echo", "bytes.line-ends", "bytes.white-space"]
    report, _ = checked(folder, code, *names)
    (failed,) = report.failed
    assert failed.check.id == "bytes.echo"
    assert "this check, or one of the few before it; the server ended with status 3" in failed.got


def test_a_death_after_the_last_check_is_seen(folder: Path) -> None:
    code = DIES_OF_NUL.format("os._exit, [3]")
    report, _ = checked(folder, code, "bytes.echo", "bytes.nul")
    assert [result.check.id for result in report.failed] == ["bytes.nul"]


def test_a_death_between_repetitions_is_the_fault_of_that_check(folder: Path) -> None:
    code = DIES_OF_NUL.format("os._exit, [3]").replace('b"\\0"', 'b"hello"')
    report, _ = checked(folder, code, "streams.nothing-more", "bytes.letters", repeat=2)
    assert [result.check.id for result in report.failed] == ["streams.nothing-more"]


def test_an_end_without_a_failure_is_a_matter_of_the_checks_of_clients(folder: Path) -> None:
    report, _ = checked(folder, DIES_OF_NUL.format("os._exit, [0]"), "bytes.nul", "bytes.echo")
    assert report.failed == []


# What the checker may open


def check_under(limit: str, url: str) -> str:
    """What a crowd comes to under a limit of descriptors, hard and soft."""
    command = f"{sys.executable} -m echoservers check {url} --only clients.crowd"
    script = ["sh", "-c", f"ulimit {limit} && exec {command}"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_soft_limit_of_descriptors_does_not_keep_the_checker(folder: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 1000:
        pytest.skip("the hard limit of descriptors is too low for a crowd")
    with serving("threading-tcp", folder) as server:
        assert "1 passed" in check_under("-Sn 60", server.endpoint())


def test_a_lack_of_descriptors_is_the_checkers_and_no_failure(folder: Path) -> None:
    with serving("threading-tcp", folder) as server:
        shown = check_under("-n 60", server.endpoint())
    assert "skip  clients.crowd" in shown
    assert "the checker may have no more than 60 open descriptors" in shown


def test_a_server_has_the_descriptors_that_it_would_have_without_a_checker() -> None:
    code = """
import resource
from echoservers.targets import RunningTarget, Target
from echoservers.targets.limits import raise_own_descriptors
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
raise_own_descriptors()
show = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"
target = Target("a program", "tcp", ("python3", "-c", show, "{port}"))
with RunningTarget(target, listens=False) as running:
    running.wait(10)
    assert running.said() == f"; it said: {(100, hard)}", running.said()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# The process that checks


class Worker(subprocess.Popen[str]):
    """The process, which ends well with its block."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "echoservers.conformance.worker"]
        pipe = subprocess.PIPE
        super().__init__(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        assert self.returncode == 0

    def order(self, job: Job) -> None:
        assert self.stdin is not None
        self.stdin.write(json.dumps(job.to_json()) + "\n")
        self.stdin.flush()

    def event(self) -> dict[str, Any]:
        assert self.stdout is not None
        event: dict[str, Any] = json.loads(self.stdout.readline())
        return event


def test_an_interrupted_worker_says_what_became_of_its_job_and_goes_on(folder: Path) -> None:
    write(folder, silent=GOOD.replace("(data)", "(b'')"), good=GOOD)
    with Worker() as worker:
        for name in ("silent", "good"):
            target = Target.of_command(f"python3 {folder}/{name}.py {{port}}")
            worker.order(Job(target, Level.POOL, ("bytes.echo",)))
        assert worker.event() == {"event": "check", "id": "bytes.echo"}
        os.kill(worker.pid, signal.SIGINT)
        message = "interrupted by a signal to the checker"
        assert worker.event() == {"event": "error", "message": message}
        assert [worker.event()["event"] for _ in range(3)] == ["check", "result", "ended"]


def test_a_worker_that_nobody_hears_ends_as_well_when_its_orders_end_later(folder: Path) -> None:
    pids = folder / "pids"
    write(folder, good=f"import os; open({str(pids)!r}, 'w').write(str(os.getpid()))\n" + GOOD)
    target = Target.of_command(f"python3 {folder}/good.py {{port}}")
    with Worker() as worker:
        assert worker.stdout is not None
        worker.stdout.close()
        worker.order(Job(target, Level.POOL, ("bytes.echo",)))
        wait_until(lambda: pids.exists() and pids.read_text() != "", "the server has started")
        wait_until(lambda: not children_of(worker.pid), "the server is ended")
        wait_until(lambda: state_of(worker.pid) == "S", "the next job is waited for")
        os.kill(worker.pid, signal.SIGINT)  # as at the end of its orders


def test_what_was_made_before_the_time_was_over_is_told(folder: Path) -> None:
    write(folder, good=GOOD)
    target = Target.of_command(f"python3 {folder}/good.py {{port}}")
    checks = ("bytes.echo", "bytes.letters", "streams.idle")  # the last takes 0.6 s times the scale
    job = Job(target, Level.POOL, checks, timeout_scale=30, limits=Limits(time=2.0))
    with Pool([job], 1) as pool:
        (run,) = [event.run for event in pool.events() if isinstance(event, Ended)]
    assert run.error == "not done within 2 s"
    assert [result.check.id for result in run.report.results] == list(checks[:2])


def test_limits_are_longer_beside_others_and_what_shows_by_its_length_is_not() -> None:
    target = Target.of_mode("threading-tcp")
    with (
        Subject(target, Level.POOL) as alone,
        Subject(target, Level.POOL, 2.0, beside=3.0) as beside,
        Subject(target, Level.POOL, 0.5, beside=0.5) as quick,
    ):
        assert beside.patience == 6 * alone.patience
        assert beside.lengthened(1.0) == 2.0
        assert quick.patience == 0.5 * alone.patience
        assert quick.lengthened(1.0) == alone.lengthened(1.0) == 1.0
        assert beside.connect().echo(b"hello\n") == b"hello\n"


def test_a_signal_when_all_is_said_says_nothing_more(folder: Path) -> None:
    write(folder, good=GOOD)
    target = Target.of_command(f"python3 {folder}/good.py {{port}}")
    job = Job(target, Level.POOL, ("bytes.echo",), look=False)
    with Worker() as worker:
        for _ in range(2):
            worker.order(job)
            assert [worker.event()["event"] for _ in range(3)] == ["check", "result", "ended"]
            os.kill(worker.pid, signal.SIGINT)
